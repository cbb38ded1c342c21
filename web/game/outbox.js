// @ts-check
/** Frames that the server has not answered for yet: sent again with the same ids, so that twice is once. Pure. */

export class Outbox {
  /** @type {Map<string, {frame: object, sentAt: number}>} */ #waiting = new Map();

  /** Keep a frame until its id is settled.
   * @param {string} id
   * @param {object} frame
   */
  add(id, frame) {
    this.#waiting.set(id, { frame, sentAt: -Infinity });
  }

  /** The server has answered for an id, or refused it for good.
   * @param {string} id
   */
  settle(id) {
    this.#waiting.delete(id);
  }

  get empty() {
    return this.#waiting.size === 0;
  }

  /** The frames to send now, in their first order; they count as sent.
   * @param {number} now In ms of any clock.
   * @param {number} patience What was sent within so many ms before is not due.
   * @returns {object[]}
   */
  due(now, patience) {
    const due = [...this.#waiting.values()].filter(({ sentAt }) => now - sentAt >= patience);
    for (const each of due) each.sentAt = now;
    return due.map(({ frame }) => frame);
  }
}
