"""Vector instructions for numba kernels: Hamming distances of one query to a block of 64 codes.

LLVM does not find the best loops in the numba source, so the instructions are written out here: eight vectors of eight
64-bit words are loaded, xored with the query's word, and their bits are counted and summed in registers over the
words of a code. Where the processor has no such vectors or no such count, LLVM lowers them to what it has.

Codes lie word by word: planes (at least n_words, length) hold word w of the code in slot i at ``planes[w, i]``.
"""

from collections.abc import Callable, Iterable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = [
    "BLOCK",
    "any_below",
    "below",
    "lay_out_4",
    "lay_out_8",
    "load_word",
    "rows_below_4",
    "rows_below_8",
    "weighted_below",
]

BLOCK = 64
_LANES = 8
_VECTORS = BLOCK // _LANES
_WORD = ir.IntType(64)
_VECTOR = ir.VectorType(_WORD, _LANES)
_FLOATS = ir.VectorType(ir.FloatType(), _LANES)
_BITS = ir.IntType(_LANES)


def _call(builder: Any, name: str, *arguments: Any) -> Any:
    """Call an LLVM intrinsic on vectors."""
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * len(arguments))
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v8i64"), arguments)


def _splat(builder: Any, word: Any) -> Any:
    """Return a vector whose lanes all hold the value."""
    vector = ir.VectorType(word.type, _LANES)
    single = builder.insert_element(ir.Constant(vector, ir.Undefined), word, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(single, single, _lanes([0] * _LANES))


def _vector_at(builder: Any, words: Any, place: Any) -> Any:
    """Return the place of a vector that begins at a word of an array."""
    return builder.bitcast(builder.gep(words, [place]), _VECTOR.as_pointer())


def _distances(context: Any, builder: Any, signature: Any, arguments: Any) -> list[Any]:
    """Emit the distances of a query to the codes in the slots from `start`, as eight vectors."""
    query, planes = (
        context.make_array(kind)(context, builder, value)
        for kind, value in zip(signature.args[:2], arguments[:2], strict=True)
    )
    start = arguments[2]
    n_words = cgutils.unpack_tuple(builder, query.shape)[0]
    length = cgutils.unpack_tuple(builder, planes.shape)[1]
    zero = ir.Constant(_VECTOR, [0] * _LANES)
    sums = [cgutils.alloca_once_value(builder, zero) for _ in range(_VECTORS)]
    for total in sums:
        builder.store(zero, total)
    with cgutils.for_range(builder, n_words) as loop:
        word = _splat(builder, builder.load(builder.gep(query.data, [loop.index])))
        first = builder.add(builder.mul(loop.index, length), start)
        for i, total in enumerate(sums):
            place = _vector_at(builder, planes.data, builder.add(first, ir.Constant(first.type, i * _LANES)))
            codes = builder.load(place, align=8)
            count = _call(builder, "ctpop", builder.xor(codes, word))
            builder.store(builder.add(builder.load(total), count), total)
    return [builder.load(total) for total in sums]


def _mask_below(builder: Any, vectors: list[Any], limit: Any) -> Any:
    """Emit the word whose bit i says whether number i of the lanes of eight vectors is below the limit."""
    limits, mask = _splat(builder, limit), ir.Constant(_WORD, 0)
    for i, vector in enumerate(vectors):
        bits = builder.zext(builder.bitcast(builder.icmp_signed("<", vector, limits), _BITS), _WORD)
        mask = builder.or_(mask, builder.shl(bits, ir.Constant(_WORD, i * _LANES)))
    return mask


def _signature(result: Any, query: Any, planes: Any, *rest: Any) -> Any:
    return result(query, planes, types.intp, *rest)


def _any_below(typing_context: Any, query: Any, planes: Any, start: Any, limit: Any) -> Any:
    """Return whether a code in the 64 slots from `start` is nearer to the query than the limit."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vectors = _distances(context, builder, signature, arguments)
        while len(vectors) > 1:
            vectors = [_call(builder, "smin", a, b) for a, b in zip(vectors[::2], vectors[1::2], strict=True)]
        near = builder.icmp_signed("<", vectors[0], _splat(builder, arguments[3]))
        return builder.icmp_unsigned("!=", builder.bitcast(near, _BITS), ir.Constant(_BITS, 0))

    return _signature(types.boolean, query, planes, types.int64), generate


def _below(typing_context: Any, query: Any, planes: Any, start: Any, limit: Any) -> Any:
    """Return a word whose bit i says whether the code in slot ``start + i`` is nearer to the query than the limit."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _mask_below(builder, _distances(context, builder, signature, arguments), arguments[3])

    return _signature(types.uint64, query, planes, types.int64), generate


def _weighted_below(
    typing_context: Any, signs: Any, weights: Any, planes: Any, start: Any, scales: Any, offsets: Any, factor: Any,
    shift: Any, limit: Any,
) -> Any:  # fmt: skip
    """Return a word whose bit i says whether the code in slot ``start + i`` may be nearer to a query than the limit.

    With the sum D of the query's weights, given bit by bit in weights (n_planes, n_words), highest first, over the bits
    in which the code differs from signs (n_words,): whether ``scale * (factor * D + shift) - offset <= limit``, where
    the scale and the offset are those of the slot.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start, (factor, shift, limit) = arguments[3], arguments[6:]
        signs, weights, planes, scales, offsets = (
            context.make_array(signature.args[i])(context, builder, arguments[i]) for i in (0, 1, 2, 4, 5)
        )
        n_planes, n_words = cgutils.unpack_tuple(builder, weights.shape)
        length = cgutils.unpack_tuple(builder, planes.shape)[1]
        sums = [cgutils.alloca_once(builder, _VECTOR) for _ in range(_VECTORS)]
        for total in sums:
            builder.store(ir.Constant(_VECTOR, [0] * _LANES), total)
        with cgutils.for_range(builder, n_planes) as plane:
            for total in sums:
                doubled = builder.load(total)
                builder.store(builder.add(doubled, doubled), total)
            with cgutils.for_range(builder, n_words) as word:
                sign = _splat(builder, builder.load(builder.gep(signs.data, [word.index])))
                place = builder.add(builder.mul(plane.index, n_words), word.index)
                weight = _splat(builder, builder.load(builder.gep(weights.data, [place])))
                first = builder.add(builder.mul(word.index, length), start)
                for i, total in enumerate(sums):
                    codes = _vector_at(builder, planes.data, builder.add(first, first.type(i * _LANES)))
                    differing = builder.and_(builder.xor(builder.load(codes, align=8), sign), weight)
                    builder.store(builder.add(builder.load(total), _call(builder, "ctpop", differing)), total)
        factors, shifts, limits = (_splat(builder, value) for value in (factor, shift, limit))
        mask = ir.Constant(_WORD, 0)
        for i, total in enumerate(sums):
            slot = builder.add(start, start.type(i * _LANES))
            scale, offset = (
                builder.load(builder.bitcast(builder.gep(array.data, [slot]), _FLOATS.as_pointer()), align=4)
                for array in (scales, offsets)
            )
            distance = builder.fadd(builder.fmul(builder.sitofp(builder.load(total), _FLOATS), factors), shifts)
            distance = builder.fsub(builder.fmul(distance, scale), offset)
            bits = builder.zext(builder.bitcast(builder.fcmp_ordered("<=", distance, limits), _BITS), _WORD)
            mask = builder.or_(mask, builder.shl(bits, _WORD(i * _LANES)))
        return mask

    floats = (types.float32,) * 3
    return types.uint64(signs, weights, planes, types.intp, scales, offsets, *floats), generate


def _load_word(typing_context: Any, codes: Any, place: Any) -> Any:
    """Return the 64-bit word that begins at a byte of a contiguous uint8 array."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.bitcast(builder.gep(array.data, [arguments[1]]), _WORD.as_pointer())
        return builder.load(place, align=1)

    return types.uint64(codes, types.intp), generate


def _row_pieces(builder: Any, codes: Any, code_bytes: Any, rows: list[Any], word: Any, width: int) -> list[Any]:
    """Emit loads of `width` words (4 or 8) of eight rows: eight vectors, or four that hold row i beside row i + 4."""
    piece = ir.VectorType(_WORD, width)
    vectors = []
    for row in rows:
        place = builder.add(builder.mul(row, code_bytes), builder.mul(word, word.type(8)))
        vectors.append(builder.load(builder.bitcast(builder.gep(codes.data, [place]), piece.as_pointer()), align=1))
    return vectors if width == _LANES else _paired(builder, vectors)


def _paired(builder: Any, vectors: list[Any]) -> list[Any]:
    """Emit vectors of eight lanes from vectors of four: number i beside number i + 4."""
    both = _lanes(range(_LANES))
    return [builder.shuffle_vector(vectors[i], vectors[i + 4], both) for i in range(4)]


def _transposition(width: int) -> Callable[..., Any]:
    """Return the emitter of `lay_out_4` (width 4) or `lay_out_8` (width 8)."""

    def lay_out(typing_context: Any, codes: Any, rows: Any, slot: Any, word: Any, masks: Any, planes: Any) -> Any:
        """Lay out some words, from `word`, of the eight rows in the slots from `slot`."""

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            _, _, slot, word, _, _ = arguments
            codes, rows, masks, planes = (
                context.make_array(signature.args[i])(context, builder, arguments[i]) for i in (0, 1, 4, 5)
            )
            code_bytes = cgutils.unpack_tuple(builder, codes.shape)[1]
            length = cgutils.unpack_tuple(builder, planes.shape)[1]
            numbers = [builder.load(builder.gep(rows.data, [builder.add(slot, slot.type(i))])) for i in range(_LANES)]
            vectors = _row_pieces(builder, codes, code_bytes, numbers, word, width)
            for i, vector in enumerate(_transposed(builder, vectors)):
                plane = builder.add(word, word.type(i))
                mask = _splat(builder, builder.load(builder.gep(masks.data, [plane])))
                place = builder.add(builder.mul(plane, length), slot)
                builder.store(builder.and_(vector, mask), _vector_at(builder, planes.data, place), align=8)
            return context.get_dummy_value()

        return types.void(codes, rows, types.intp, types.intp, masks, planes), generate

    return lay_out


def _rows_below(width: int) -> Callable[..., Any]:
    """Return the emitter of `rows_below_4` (width 4: up to four words) or `rows_below_8` (width 8: any number)."""

    def rows_below(typing_context: Any, query: Any, masks: Any, codes: Any, row: Any, limit: Any) -> Any:
        """Return a word whose bit i says whether the code in row ``row + i`` is nearer to the query than the limit.

        Query and masks are padded with zeros to a multiple of `width` words; reads as many words of each code.
        """

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            query, masks, codes = (
                context.make_array(signature.args[i])(context, builder, arguments[i]) for i in range(3)
            )
            row, limit = arguments[3:]
            n_words = cgutils.unpack_tuple(builder, query.shape)[0]
            code_bytes = cgutils.unpack_tuple(builder, codes.shape)[1]
            zero = ir.Constant(_VECTOR, [0] * _LANES)
            distances = []
            for block in range(_VECTORS):
                rows = [builder.add(row, row.type(block * _LANES + i)) for i in range(_LANES)]
                sums = [cgutils.alloca_once(builder, _VECTOR) for _ in range(width)]
                for total in sums:
                    builder.store(zero, total)
                with cgutils.for_range_slice(builder, n_words.type(0), n_words, n_words.type(width)) as (word, _):
                    asked, counted = (_repeated(builder, array, word, width) for array in (query, masks))
                    pieces = _row_pieces(builder, codes, code_bytes, rows, word, width)
                    for total, piece in zip(sums, pieces, strict=True):
                        count = _call(builder, "ctpop", builder.xor(builder.and_(piece, counted), asked))
                        builder.store(builder.add(builder.load(total), count), total)
                distances.append(_added_up(builder, [builder.load(total) for total in sums]))
            return _mask_below(builder, distances, limit)

        return types.uint64(query, masks, codes, types.intp, types.int64), generate

    return rows_below


def _repeated(builder: Any, array: Any, word: Any, width: int) -> Any:
    """Emit the load of `width` words of an array, twice side by side where these are four."""
    piece = ir.VectorType(_WORD, width).as_pointer()
    vector = builder.load(builder.bitcast(builder.gep(array.data, [word]), piece), align=8)
    return vector if width == _LANES else builder.shuffle_vector(vector, vector, _lanes(range(_LANES)))


def _lanes(numbers: Iterable[int]) -> Any:
    """Return the constant that says from where a shuffle takes each lane."""
    numbers = list(numbers)
    return ir.Constant(ir.VectorType(ir.IntType(32), len(numbers)), numbers)


def _transposed(builder: Any, vectors: list[Any]) -> list[Any]:
    """Emit the transposition of each square of lanes: of 8 x 8, or of two of 4 x 4 side by side."""
    vectors = list(vectors)
    for step in (1, 2, 4)[: len(vectors).bit_length() - 1]:
        for i in range(len(vectors)):
            if not i & step:
                vectors[i], vectors[i + step] = _swapped(builder, vectors[i], vectors[i + step], step)
    return vectors


def _added_up(builder: Any, vectors: list[Any]) -> Any:
    """Emit the sums of the rows of each square of lanes: those of `_transposed`, added up."""
    step = 1
    while len(vectors) > 1:
        pairs = [_swapped(builder, vectors[i], vectors[i + 1], step) for i in range(0, len(vectors), 2)]
        vectors = [builder.add(*pair) for pair in pairs]
        step *= 2
    return vectors[0]


def _swapped(builder: Any, first: Any, second: Any, step: int) -> tuple[Any, Any]:
    """Emit one step of a transposition of two vectors: swap the squares of `step` lanes off the diagonal."""
    lower = _lanes(lane if not lane & step else _LANES + lane - step for lane in range(_LANES))
    upper = _lanes(lane + step if not lane & step else _LANES + lane for lane in range(_LANES))
    return builder.shuffle_vector(first, second, lower), builder.shuffle_vector(first, second, upper)


any_below: Any = intrinsic(_any_below)
below: Any = intrinsic(_below)
rows_below_4: Any = intrinsic(_rows_below(4))
rows_below_8: Any = intrinsic(_rows_below(8))
load_word: Any = intrinsic(_load_word)
lay_out_4: Any = intrinsic(_transposition(4))
lay_out_8: Any = intrinsic(_transposition(8))
weighted_below: Any = intrinsic(_weighted_below)
