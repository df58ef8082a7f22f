// Conditions on metadata, searched in the browser: the language of h2q's `where`, with the logic of SQL for nulls.

const TOKEN = /\s*(?:(?<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+)|(?<text>'(?:[^']|'')*')|(?<quoted>"(?:[^"]|"")+")|(?<word>[\p{L}_][\p{L}\p{N}_]*)|(?<sign><=|>=|<>|!=|[=<>(),-]))/uy;
const MIRRORED = { "=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<=" };
const COMPARE = {
  "=": (a, b) => a === b,
  "<>": (a, b) => a !== b,
  "<": (a, b) => a < b,
  "<=": (a, b) => a <= b,
  ">": (a, b) => a > b,
  ">=": (a, b) => a >= b,
};

function tokensOf(text) {
  const tokens = [];
  TOKEN.lastIndex = 0;
  while (text.slice(TOKEN.lastIndex).trim()) {
    const start = TOKEN.lastIndex;
    const match = TOKEN.exec(text);
    if (match === null) throw new Error(`The filter cannot be read at character ${start + 1}: ${text.slice(start)}`);
    const [kind, value] = Object.entries(match.groups).find(([, found]) => found !== undefined);
    tokens.push({ kind, value });
  }
  return tokens;
}

/** Return a function from rows to true, false or null (unknown) for a condition on columns. */
export function parseFilter(text, columns, values) {
  const types = new Map(columns.map(({ name, type }) => [name, type]));
  const tokens = tokensOf(text);
  let next = 0;

  const isWord = (...words) => tokens[next]?.kind === "word" && words.includes(tokens[next].value.toLowerCase());
  const isSign = (...signs) => tokens[next]?.kind === "sign" && signs.includes(tokens[next].value);
  const takes = (test) => (test ? (next++, true) : false);
  function expect(test, what) {
    if (!test) throw new Error(`The filter cannot be read: expected ${what}, got ${tokens[next]?.value ?? "its end"}`);
    return tokens[next++];
  }

  function either() {
    let left = both();
    while (takes(isWord("or"))) {
      const [first, second] = [left, both()];
      left = (row) => or(first(row), () => second(row));
    }
    return left;
  }
  function both() {
    let left = negated();
    while (takes(isWord("and"))) {
      const [first, second] = [left, negated()];
      left = (row) => not(or(not(first(row)), () => not(second(row))));
    }
    return left;
  }
  function negated() {
    if (!takes(isWord("not"))) return plain();
    const inner = negated();
    return (row) => not(inner(row));
  }
  function plain() {
    if (takes(isSign("("))) {
      const inner = either();
      expect(isSign(")"), ")");
      return inner;
    }
    const left = operand();
    const negate = takes(isWord("not"));
    if (left.column === undefined && (negate || isWord("in", "between", "like", "ilike", "is"))) {
      throw new Error("The filter tests a value: the left side must be a column");
    }
    const test = predicate(left, negate);
    return negate ? (row) => not(test(row)) : test;
  }

  function predicate(left, negate) {
    if (takes(isWord("in"))) {
      expect(isSign("("), "(");
      const wanted = [];
      do wanted.push(literal(left)); while (takes(isSign(",")));
      expect(isSign(")"), ")");
      return unknownIfNull(left, (value) => wanted.includes(value));
    }
    if (takes(isWord("between"))) {
      const low = literal(left);
      expect(isWord("and"), "and");
      const high = literal(left);
      return unknownIfNull(left, (value) => value >= low && value <= high);
    }
    if (isWord("like", "ilike")) {
      const flags = tokens[next++].value.toLowerCase() === "ilike" ? "isu" : "su";
      const pattern = String(literal(left)).replace(/[\\^$.*+?()[\]{}|]/g, "\\$&").replace(/%/g, ".*").replace(/_/g, ".");
      const expression = new RegExp(`^${pattern}$`, flags);
      return unknownIfNull(left, (value) => expression.test(value));
    }
    if (!negate && takes(isWord("is"))) {
      const negated = takes(isWord("not"));
      expect(isWord("null"), "null");
      return (row) => (left.read(row) === null) !== negated;
    }
    if (!negate && isSign("=", "<>", "!=", "<", "<=", ">", ">=")) {
      const sign = tokens[next++].value.replace("!=", "<>");
      return comparison(left, sign, operand());
    }
    if (!negate && left.type === "bool") return (row) => left.read(row);
    throw new Error(`The filter cannot be read: expected a comparison, got ${tokens[next]?.value ?? "its end"}`);
  }

  function comparison(left, sign, right) {
    if (left.column === undefined) [left, right, sign] = [right, left, MIRRORED[sign]];
    if (left.column === undefined) throw new Error("The filter compares two values: one side must be a column");
    const other = right.column === undefined ? () => convert(right.value, left) : right.read;
    const constant = right.column === undefined ? other() : undefined;
    const compare = COMPARE[sign];
    return (row) => {
      const [a, b] = [left.read(row), constant === undefined ? other(row) : constant];
      return a === null || b === null ? null : compare(a, b);
    };
  }

  function operand() {
    const token = tokens[next];
    const isLiteral = ["number", "text"].includes(token?.kind) || isSign("-") || isWord("true", "false");
    if (isLiteral) return { value: constant() };
    expect(["word", "quoted"].includes(token?.kind), "a column");
    const column = token.kind === "quoted" ? token.value.slice(1, -1).replaceAll('""', '"') : token.value;
    if (!types.has(column)) {
      throw new Error(`There is no column ${column}; the columns are: ${[...types.keys()].join(", ")}`);
    }
    const [entries, type] = [values[column], types.get(column)];
    const isTime = /^(timestamp|date)/.test(type);
    const read = isTime ? (row) => (entries[row] === null ? null : parseTime(entries[row])) : (row) => entries[row];
    return { column, type, isTime, read };
  }
  function constant() {
    if (takes(isSign("-"))) return -Number(expect(tokens[next]?.kind === "number", "a number").value);
    const { kind, value } = tokens[next++];
    if (kind === "number") return Number(value);
    return kind === "text" ? value.slice(1, -1).replaceAll("''", "'") : value.toLowerCase() === "true";
  }
  function literal(column) {
    const { value, column: other } = operand();
    if (other !== undefined) throw new Error(`The filter compares ${column.column} with a column; give a value`);
    return convert(value, column);
  }
  function convert(value, { column, type, isTime }) {
    if (!isTime) {
      const isText = /string/.test(type);
      const expected = type === "bool" ? "boolean" : isText ? "string" : "number";
      if (typeof value === expected) return value;
      throw new Error(`${column} is a column of ${type}: compare it with ${isText ? "a text in single quotes" : `a ${expected}`}`);
    }
    const time = parseTime(String(value));
    if (Number.isNaN(time)) throw new Error(`${column} is a column of times: compare it with a date such as '2024-05-01'`);
    return time;
  }
  function unknownIfNull(operand, test) {
    return (row) => {
      const value = operand.read(row);
      return value === null ? null : test(value);
    };
  }

  const condition = either();
  if (next < tokens.length) throw new Error(`The filter cannot be read at ${tokens[next].value}`);
  return condition;
}

/** Return milliseconds of a date or time; one without a zone is UTC, as in h2q, and not the browser's local time. */
function parseTime(text) {
  const hasZone = /^\d{4}-\d{2}-\d{2}$|(Z|[+-]\d{2}:?\d{2})$/.test(text);
  return Date.parse(hasZone ? text : `${text.replace(" ", "T")}Z`);
}

const not = (value) => (value === null ? null : !value);
function or(left, right) {
  if (left === true) return true;
  const other = right();
  return other === true ? true : left === null || other === null ? null : false;
}

/** Return 1 for each row for which a condition is true. */
export function keptRows(text, columns, values, n) {
  const condition = parseFilter(text, columns, values);
  return Uint8Array.from({ length: n }, (_, row) => (condition(row) === true ? 1 : 0));
}
