// @ts-check
/** Frames that the server has not answered for yet: sent again with the same ids, so that twice is once. Pure. */

/** @typedef {{type: string, drawing_id?: string} & Record<string, unknown>} Frame */

export class Outbox {
  /** @type {Map<string, {frame: Frame, sentAt: number}>} */ #waiting = new Map();

  /** Keep a frame until its id is settled.
   * @param {string} id
   * @param {Frame} frame
   */
  add(id, frame) {
    this.#waiting.set(id, { frame, sentAt: -Infinity });
  }

  /** The server has answered for an id.
   * @param {string} id
   */
  settle(id) {
    this.#waiting.delete(id);
  }

  /** The server wants nothing that is about a drawing.
   * @param {string} drawing
   */
  drop(drawing) {
    for (const [id, { frame }] of this.#waiting) if (frame.drawing_id === drawing) this.#waiting.delete(id);
  }

  /** Nothing is waited for any more: what is here was another player's. */
  clear() {
    this.#waiting.clear();
  }

  get empty() {
    return this.#waiting.size === 0;
  }

  /** The frames to send now, in their first order; they count as sent.
   * @param {number} now In ms of any clock.
   * @param {number} patience What was sent within so many ms before is not due.
   * @returns {Frame[]}
   */
  due(now, patience) {
    const due = [...this.#waiting.values()].filter(({ sentAt }) => now - sentAt >= patience);
    for (const each of due) each.sentAt = now;
    return due.map(({ frame }) => frame);
  }
}
