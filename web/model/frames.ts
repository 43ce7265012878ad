/**
 * Messages change the state at any rate; once a frame of the screen what changed is painted.
 *
 * @module
 */

/**
 * Makes the painter.
 *
 * @param schedule calls back before the next frame: requestAnimationFrame
 */
export function createFrames<Part extends string>(schedule: (callback: () => void) => void) {
  const touched = new Set<Part>();
  const painters: { parts: readonly Part[]; paint: () => void }[] = [];
  let isScheduled = false;

  function frame(): void {
    isScheduled = false;
    const now = new Set(touched);
    touched.clear();
    for (const { parts, paint } of painters) {
      if (parts.some((part) => now.has(part))) paint();
    }
  }

  return {
    /** These parts changed: they are painted with the next frame. */
    touch(...parts: Part[]): void {
      for (const part of parts) touched.add(part);
      if (isScheduled) return;
      isScheduled = true;
      schedule(frame);
    },
    /** `paint` is called in a frame in which one of the parts changed, in the order of the calls of `on`. */
    on(parts: readonly Part[], paint: () => void): void {
      painters.push({ parts, paint });
    },
  };
}
