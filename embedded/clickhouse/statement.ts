/**
 * What must be known of a statement before the engine sees it: whether data follows it, where, in which format,
 * and whether it is one statement. Everything else is the engine's to judge.
 *
 * It works on bytes, because the data of an insert may be any bytes. ClickHouse's syntax is ASCII.
 *
 * @module
 */

/** An `INSERT` whose rows follow in the request. All numbers are byte offsets. */
export interface InsertedData {
  /** Where `FORMAT` or `VALUES` starts: what stands before is the insert without its rows. */
  formatAt: number;
  /** As written after `FORMAT`; `Values` for `VALUES`. */
  format: string;
  /** Where the rows start. */
  dataAt: number;
}

/** One statement, as far as it was read. */
export interface Statement {
  /** The first word in upper case, `""` when there is none: no statement at all. */
  verb: string;
  /** Set when it is an insert whose rows follow. */
  data?: InsertedData;
  /** The name in the `FORMAT` clause that closes a query. */
  format?: string;
  /** Where a second statement starts, behind the first one's semicolon. */
  secondAt?: number;
  /** `INTO OUTFILE` or `FROM INFILE`: these read and write files of the client, which a server doesn't have. */
  file?: "OUTFILE" | "INFILE";
  /** An insert that reads its rows through the table function `input()`. */
  input?: boolean;
}

interface Token {
  kind: "word" | "quoted" | "mark";
  start: number;
  end: number;
  /** How many parentheses, brackets and braces are open around it. */
  depth: number;
}

/** Reads the statement that `bytes` starts with. Never fails: what is broken is for the engine to refuse. */
export function readStatement(bytes: Uint8Array): Statement {
  const tokens = tokenize(bytes);
  const word = (token: Token | undefined) =>
    token?.kind === "word" ? ascii(bytes, token.start, token.end).toUpperCase() : "";
  const mark = (token: Token | undefined) =>
    token?.kind === "mark" ? ascii(bytes, token.start, token.end) : "";

  const statement: Statement = { verb: "" };
  // An insert's rows can follow only as long as no SELECT has begun.
  let mayHaveData = false;
  let before: Token | undefined;
  let token = tokens.next().value;
  while (token) {
    const name = word(token);
    let next = tokens.next().value;
    if (statement.verb === "" && name !== "") {
      statement.verb = name;
      mayHaveData = name === "INSERT";
      if (mayHaveData) {
        // The target may be called like a clause: it is skipped.
        while (["INTO", "TABLE", "FUNCTION"].includes(word(next))) next = tokens.next().value;
        before = next;
        token = tokens.next().value;
        continue;
      }
    } else if (name === "INPUT" && mark(next) === "(" && statement.verb === "INSERT") {
      statement.input = true;
    } else if (token.depth > 0) {
      // A clause of a subquery or a list isn't one of the statement.
    } else if (mark(token) === ";") {
      if (next) return { ...statement, secondAt: next.start };
    } else if (mark(before) === ".") {
      // A part of a name, whatever it says.
    } else if (name === "OUTFILE" && word(before) === "INTO") {
      statement.file = "OUTFILE";
    } else if (name === "INFILE" && word(before) === "FROM") {
      statement.file = "INFILE";
      mayHaveData = false;
    } else if (mayHaveData) {
      if (name === "SELECT" || name === "WITH") mayHaveData = false;
      else if (name === "VALUES") {
        const data = { formatAt: token.start, format: "Values", dataAt: afterOneLineEnd(bytes, token.end) };
        return { ...statement, data };
      } else if (name === "FORMAT" && next && next.kind !== "mark") {
        const format = ascii(bytes, next.start, next.end).replace(/^[`"]|[`"]$/g, "");
        return {
          ...statement,
          data: { formatAt: token.start, format, dataAt: afterOneLineEnd(bytes, next.end) },
        };
      }
    } else if (name === "FORMAT" && next?.kind === "word") {
      const format = ascii(bytes, next.start, next.end);
      before = next;
      token = tokens.next().value;
      if (!token || mark(token) === ";" || word(token) === "SETTINGS") statement.format = format;
      continue;
    }
    before = token;
    token = next;
  }
  return statement;
}

/** Where another statement starts behind rows written as `(1), (2);`, undefined when nothing follows them. */
export function secondAfterValues(data: Uint8Array): number | undefined {
  let closed = false;
  for (const token of tokenize(data)) {
    if (closed) return token.start;
    closed = token.depth === 0 && data[token.start] === semicolon;
  }
  return undefined;
}

/** True when there is nothing but white space. */
export function isBlank(bytes: Uint8Array): boolean {
  return bytes.every(isSpace);
}

const newline = code("\n");
const backslash = code("\\");
const dollar = code("$");
const semicolon = code(";");
const quotes = codes("'\"`");
const commentMarks = codes("-/#");
const openers = codes("([{");
const closers = codes(")]}");

function code(character: string): number {
  return character.charCodeAt(0);
}

function codes(characters: string): Set<number> {
  return new Set([...characters].map(code));
}

/** Words, quoted pieces and single marks; comments and white space are left out. */
function* tokenize(bytes: Uint8Array): Generator<Token, undefined> {
  let depth = 0;
  let at = 0;
  while (at < bytes.length) {
    const start = at;
    const byte = bytes[at] ?? 0;
    if (isSpace(byte)) {
      at++;
    } else if (commentMarks.has(byte) && isComment(bytes, at)) {
      at = byte === code("/") ? behind(bytes, "*/", at + 2) : lineEnd(bytes, at);
    } else if (quotes.has(byte)) {
      at = behindQuote(bytes, at);
      yield { kind: "quoted", start, end: at, depth };
    } else if (byte === dollar && heredoc(bytes, at)) {
      const tag = heredoc(bytes, at);
      at = behind(bytes, tag, at + tag.length);
      yield { kind: "quoted", start, end: at, depth };
    } else if (isWord(byte)) {
      while (at < bytes.length && (isWord(bytes[at]) || bytes[at] === dollar)) at++;
      yield { kind: "word", start, end: at, depth };
    } else {
      at++;
      if (closers.has(byte)) depth = Math.max(0, depth - 1);
      yield { kind: "mark", start, end: at, depth };
      if (openers.has(byte)) depth++;
    }
  }
  return undefined;
}

function isSpace(byte: number | undefined): boolean {
  return byte === 32 || (byte !== undefined && byte >= 9 && byte <= 13);
}

/** Letters, digits, `_` and all that isn't ASCII. */
function isWord(byte: number | undefined): boolean {
  if (byte === undefined) return false;
  return byte >= 128 || byte === 95 || (byte >= 48 && byte <= 57) ||
    ((byte | 32) >= 97 && (byte | 32) <= 122);
}

function isComment(bytes: Uint8Array, at: number): boolean {
  const start = ascii(bytes, at, at + 2);
  return start === "--" || start === "/*" || start === "# " || start === "#!";
}

function lineEnd(bytes: Uint8Array, from: number): number {
  const at = bytes.indexOf(newline, from);
  return at < 0 ? bytes.length : at;
}

/** The offset behind the next `text`, or the end. */
function behind(bytes: Uint8Array, text: string, from: number): number {
  for (let at = bytes.indexOf(code(text), from); at >= 0; at = bytes.indexOf(code(text), at + 1)) {
    if (ascii(bytes, at, at + text.length) === text) return at + text.length;
  }
  return bytes.length;
}

/** A backslash hides the next byte; a doubled quote is two pieces side by side, which comes to the same here. */
function behindQuote(bytes: Uint8Array, start: number): number {
  let at = start + 1;
  while (at < bytes.length && bytes[at] !== bytes[start]) at += bytes[at] === backslash ? 2 : 1;
  return Math.min(at + 1, bytes.length);
}

/** The `$tag$` that opens a here-document at `at`, `""` when there is none. */
function heredoc(bytes: Uint8Array, at: number): string {
  let end = at + 1;
  while (isWord(bytes[end])) end++;
  return bytes[end] === dollar ? ascii(bytes, at, end + 1) : "";
}

/** ClickHouse skips blanks and one line end before the rows; binary rows may start with any byte after that. */
function afterOneLineEnd(bytes: Uint8Array, from: number): number {
  let at = from;
  while (bytes[at] === 32 || bytes[at] === 9 || bytes[at] === 12) at++;
  if (bytes[at] === 13) at++;
  if (bytes[at] === newline) at++;
  return at;
}

/** At most 100 characters: nothing that is asked for here is longer. */
function ascii(bytes: Uint8Array, start: number, end: number): string {
  return String.fromCharCode(...bytes.subarray(start, Math.min(end, start + 100)));
}
