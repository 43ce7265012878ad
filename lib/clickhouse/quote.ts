/**
 * Names and texts in statements.
 *
 * @module
 */

/** A name as an identifier in a statement, whatever it holds: `quote("a`b")` is `` `a\`b` `` with its backticks. */
export function quote(name: string): string {
  return `\`${name.replace(/[\\`]/g, "\\$&")}\``;
}

/** A text as a literal in a statement, whatever it holds: `quoteText("it's")` is `'it\'s'`. */
export function quoteText(text: string): string {
  return `'${text.replace(/[\\']/g, "\\$&")}'`;
}
