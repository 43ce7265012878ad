/** Which key was meant; no DOM. @module */

/** Whether an event is one of the keys; letters typed into a field never are. */
export function matches(
  shortcut: { keys: readonly string[] },
  event: { key: string; ctrlKey: boolean; metaKey: boolean; altKey: boolean },
  typing: boolean,
): boolean {
  if (event.altKey) return false;
  const control = event.ctrlKey || event.metaKey;
  return shortcut.keys.some((key) => {
    if (key.startsWith("Ctrl+")) return control && event.key.toLowerCase() === key.slice(5);
    return !control && !typing && event.key === key;
  });
}
