/**
 * Imported for its effect: what kafkajs does with time, mended at its source. Its timers of negative length end, a clock
 * that is set back stops neither its heartbeats nor its time limits, and who is no member has no heartbeat.
 *
 * @module
 */

import ConsumerGroup from "kafkajs/src/consumer/consumerGroup.js";
import RequestQueue from "kafkajs/src/network/requestQueue/index.js";

// With nothing pending and no throttling, kafkajs still starts a timer, of a negative length, that starts the next: the
// runtime warns about each, and the connection wakes a thousand times a second. There is nothing to check then.
const { scheduleCheckPendingRequests } = RequestQueue.prototype;
RequestQueue.prototype.scheduleCheckPendingRequests = function () {
  if (this.pending.length > 0 || this.throttledUntil > Date.now()) scheduleCheckPendingRequests.call(this);
};

// A heartbeat is sent when `lastRequest` is old enough by the wall clock: set back by an hour, none would be sent for an
// hour, and the group would expel the member again and again.
const { heartbeat } = ConsumerGroup.prototype;
ConsumerGroup.prototype.heartbeat = function (options: { interval: number }) {
  if (this.lastRequest > Date.now()) this.lastRequest = 0;
  // While an expelled member joins anew kafkajs sends none, and says that all is well.
  if (!this.memberId) return Promise.reject(new Error("not a member of the group at the moment"));
  return heartbeat.call(this, options);
};

// So are the limits of requests: one that hangs would hang for that hour. As kafkajs' own, with one line more.
RequestQueue.prototype.scheduleRequestTimeoutCheck = function () {
  if (!this.enforceRequestTimeout) return;
  this.destroy();
  this.requestTimeoutIntervalId = setInterval(() => {
    const now = Date.now();
    for (const request of [...this.inflight.values()]) {
      request.sentAt = Math.min(request.sentAt, now);
      if (now - request.sentAt > request.requestTimeout) request.timeoutRequest();
    }
    if (!this.isConnected()) this.destroy();
  }, Math.min(this.requestTimeout, 100));
};
