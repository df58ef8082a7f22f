"""The first lines of NumPy's docstrings, in files of every kind: indexed, brought up to date, searched, grouped."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from h2q.collections import PictureCollection, TextCollection, open_collection

LINES = {name: (getattr(np, name).__doc__ or "").strip().partition("\n")[0] for name in np.__all__}
DIFFERENT = {line: name for name, line in LINES.items() if len(line) > 20}
NAMES = list(dict.fromkeys(["nonzero", *DIFFERENT.values()]))[:120]
TABLE = pa.table({"name": NAMES, "text": [LINES[name] for name in NAMES], "length": [len(LINES[n]) for n in NAMES]})


def counts(collection: TextCollection) -> tuple[int, int, int, int]:
    update = collection.update()
    return update.added, update.changed, update.removed, update.kept


@pytest.fixture
def file(tmp_path: Path) -> Path:
    pq.write_table(TABLE, tmp_path / "lines.parquet")
    return tmp_path / "lines.parquet"


def test_a_file_is_indexed_searched_and_brought_up_to_date(file: Path) -> None:
    path = file.with_name("lines.h2q")
    assert counts(TextCollection(path, file, ids_column="name")) == (120, 0, 0, 0)
    collection = open_collection(path)
    assert isinstance(collection, TextCollection)
    assert "nonzero" in collection.search("indices of the elements that are not zero", 3).ids[0]
    neighbors = collection.search("which elements are not a number", 99, where="length < 40")
    assert neighbors.metadata.column_names == ["text", "length"]
    assert len(neighbors.ids[0]) == sum(len(LINES[name]) < 40 for name in NAMES)

    rows = TABLE.to_pylist()[::-1]
    del rows[7]  # gone
    rows[3]["text"] = "The weather of tomorrow in the mountains."
    rows[4]["length"] = 7  # changed, too: `where` looks at it
    rows.append({"name": "new", "text": "Bake bread.", "length": None})
    pq.write_table(pa.Table.from_pylist(rows), file)
    assert counts(TextCollection(path, file)) == (1, 2, 1, 117)
    collection = TextCollection.open(path)
    assert collection.search("will it rain", 1).ids[0, 0] == rows[3]["name"]
    assert collection.search("anything", where="length = 7").ids.tolist() == [[rows[4]["name"]]]
    assert counts(collection) == (0, 0, 0, 120)


def test_duplicates_are_grouped_and_the_longest_comes_first(tmp_path: Path) -> None:
    lines = [LINES[name] for name in NAMES]
    (tmp_path / "t.txt").write_text("\n".join([*lines, lines[5], f"{lines[9]}  "]))
    collection = TextCollection(tmp_path / "t.h2q", tmp_path / "t.txt")
    collection.update()
    assert {(5, 120), (121, 9)} <= {group.ids for group in collection.duplicates(0)}


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_rows_that_cannot_be_texts_are_listed(tmp_path: Path, suffix: str) -> None:
    few = TABLE.slice(0, 12).to_pydict()
    few["text"][2], few["text"][4], few["name"][6], few["name"][8] = "", " \t", few["name"][0], ""
    table = pa.table({"id": few["name"], "body": few["text"], "distance": few["length"]})
    file = tmp_path / f"t.{suffix}"
    if suffix == "csv":
        pyarrow.csv.write_csv(table, file)
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
    update = TextCollection(tmp_path / "t.h2q", file, column="body", ids_column="id").update()
    assert update.added == 8
    again = f"row 6 (id {few['name'][0]} is also that of row 0)"
    assert update.unreadable == ("row 2 (empty)", "row 4 (empty)", again, "row 8 (no id)")
    collection = TextCollection.open(tmp_path / "t.h2q")
    assert collection.search("numbers", 1).metadata.column_names == ["body", "distance_"]


def test_types_that_a_file_guesses_anew_do_not_matter(tmp_path: Path) -> None:
    file, path = tmp_path / "t.csv", tmp_path / "t.h2q"
    file.write_text("text,code,note\nbread,1.5,\nmoon,2.5,\n")
    assert counts(TextCollection(path, file)) == (2, 0, 0, 0)
    file.write_text("text,code,note\nbread,1,\nmoon,2.5,7\nriver,3,8\n")
    assert counts(TextCollection(path, file)) == (1, 2, 0, 0)
    file.write_text("text,code,note\nbread,1,\nmoon,many,7\nriver,3,8\n")
    with pytest.raises(ValueError, match=r"column code of .* was double before"):
        TextCollection(path, file).update()
    file.write_text("text,code,note,more\nbread,1,,1\n")
    with pytest.raises(ValueError, match="has a new column more; make another collection"):
        TextCollection(path, file).update()


def test_an_update_goes_on_where_it_was_interrupted(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("h2q.collections.collection._PART", 50)
    collection = TextCollection(file.with_name("t.h2q"), file)
    embed, parts = collection._embed, []

    def interrupted(*arguments: object) -> object:
        parts.append(arguments)
        if len(parts) == 2:
            raise KeyboardInterrupt
        return embed(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(collection, "_embed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        collection.update()
    assert counts(TextCollection(file.with_name("t.h2q"), file)) == (70, 0, 0, 50)


def test_what_cannot_be_a_collection_is_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no collection of texts at"):
        TextCollection.open(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="make one with h2q images index or h2q texts index"):
        open_collection(tmp_path)
    with pytest.raises(ValueError, match="has no column body; it has name, text, length"):
        TextCollection(tmp_path / "t", file, column="body").update()
    with pytest.raises(ValueError, match="must hold texts; it holds int64"):
        TextCollection(tmp_path / "t", file, column="length").update()
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(ValueError, match=r"holds no texts that can be read; 2 cannot, first row 0 \(empty\)"):
        TextCollection(tmp_path / "t", tmp_path / "empty.txt").update()
    (tmp_path / "few.txt").write_text("bread\nmoon\n")
    collection = TextCollection(tmp_path / "few.h2q", tmp_path / "few.txt")
    collection.update()
    with pytest.raises(ValueError, match="was made with column=text; leave the option out"):
        TextCollection(tmp_path / "few.h2q", tmp_path / "few.txt", column="body")
    with pytest.raises(ValueError, match="was made with the default ids_column; leave the option out"):
        TextCollection(tmp_path / "few.h2q", tmp_path / "few.txt", ids_column="name")
    with pytest.raises(FileNotFoundError, match="no collection of pictures"):
        PictureCollection.open(tmp_path / "few.h2q")
    with pytest.raises(ValueError, match="query must not be empty"):
        collection.search(" ")
    (tmp_path / "few.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"holds no texts any more, and .* has 2; nothing was removed"):
        collection.update()
    assert len(TextCollection.open(tmp_path / "few.h2q").index or ()) == 2
