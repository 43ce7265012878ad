/**
 * Errors as ClickHouse answers them over HTTP.
 *
 * @module
 */

/** A failure as ClickHouse's clients know it. */
export class ClickHouseError extends Error {
  override name = "ClickHouseError";

  /**
   * @param code ClickHouse's number, such as 60
   * @param type its name, such as `UNKNOWN_TABLE`
   * @param message what went wrong, without code and name
   */
  constructor(readonly code: number, readonly type: string, message: string) {
    super(message);
  }
}

/** ClickHouse's statuses by error name; what isn't listed is 500. */
const statuses: [status: number, types: string][] = [
  [401, "REQUIRED_PASSWORD"],
  [403, "UNKNOWN_USER WRONG_PASSWORD AUTHENTICATION_FAILED SET_NON_GRANTED_ROLE ACCESS_DENIED"],
  [
    400,
    "BAD_ARGUMENTS CANNOT_COMPILE_REGEXP CANNOT_PARSE_TEXT CANNOT_PARSE_ESCAPE_SEQUENCE CANNOT_PARSE_QUOTED_STRING " +
    "CANNOT_PARSE_DATE CANNOT_PARSE_DATETIME CANNOT_PARSE_NUMBER CANNOT_PARSE_DOMAIN_VALUE_FROM_STRING " +
    "CANNOT_PARSE_IPV4 CANNOT_PARSE_IPV6 CANNOT_PARSE_INPUT_ASSERTION_FAILED CANNOT_PARSE_UUID DUPLICATE_COLUMN " +
    "ILLEGAL_COLUMN UNKNOWN_ELEMENT_IN_AST UNKNOWN_TYPE_OF_AST_NODE THERE_IS_NO_COLUMN TOO_DEEP_AST TOO_BIG_AST " +
    "UNEXPECTED_AST_STRUCTURE SYNTAX_ERROR INCORRECT_DATA TYPE_MISMATCH VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE",
  ],
  [
    404,
    "UNKNOWN_TABLE UNKNOWN_FUNCTION UNKNOWN_IDENTIFIER UNKNOWN_TYPE UNKNOWN_STORAGE UNKNOWN_DATABASE " +
    "UNKNOWN_SETTING UNKNOWN_DIRECTION_OF_SORTING UNKNOWN_AGGREGATE_FUNCTION UNKNOWN_FORMAT " +
    "UNKNOWN_DATABASE_ENGINE UNKNOWN_TYPE_OF_QUERY UNKNOWN_ROLE",
  ],
  [408, "TIMEOUT_EXCEEDED"],
  [413, "QUERY_IS_TOO_LARGE"],
  [501, "NOT_IMPLEMENTED"],
  [503, "SOCKET_TIMEOUT CANNOT_OPEN_FILE CANNOT_SCHEDULE_TASK"],
];

const statusOf = new Map(
  statuses.flatMap(([status, types]) => types.split(" ").map((type) => [type, status] as const)),
);

/** The HTTP status of an error. */
export function errorStatus(type: string): number {
  return statusOf.get(type) ?? 500;
}

/** `Code: 60. DB::Exception: Table a.b does not exist. (UNKNOWN_TABLE) (version 26.7.2.1)`. */
export function errorBody(error: ClickHouseError, version: string): string {
  return `Code: ${error.code}. DB::Exception: ${error.message}. (${error.type}) (version ${version})\n`;
}

/** Reads the engine's error text: `Code: 60. DB::Exception: … (UNKNOWN_TABLE)`, sometimes one inside another. */
export function readEngineError(text: string): ClickHouseError {
  const code = /Code: (\d+)\. DB::Exception: /.exec(text);
  const type = /\(([A-Z][A-Z0-9_]{2,})\)(?: \(version [^)]*\))?\s*$/.exec(text);
  const message = text
    .replace(/^(Query failed: )?(Code: \d+\. DB::Exception: )*/, "")
    .replace(/(\.?\s*\([A-Z][A-Z0-9_]{2,}\)( \(version [^)]*\))?)+\s*$/, "");
  return new ClickHouseError(Number(code?.[1] ?? 1002), type?.[1] ?? "UNKNOWN_EXCEPTION", message);
}
