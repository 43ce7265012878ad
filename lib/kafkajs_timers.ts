/**
 * Imported for its effect: ends kafkajs' timers of negative length, at their source.
 *
 * @module
 */

import RequestQueue from "kafkajs/src/network/requestQueue/index.js";

// With nothing pending and no throttling, kafkajs still starts a timer, of a negative length, that starts the next: the
// runtime warns about each, and the connection wakes a thousand times a second. There is nothing to check then.
const { scheduleCheckPendingRequests } = RequestQueue.prototype;
RequestQueue.prototype.scheduleCheckPendingRequests = function () {
  if (this.pending.length > 0 || this.throttledUntil > Date.now()) scheduleCheckPendingRequests.call(this);
};
