// @ts-check
/** Frames that the server has not acknowledged yet: sent again after each reconnect, with the same ids, so twice is once. */

export class Outbox {
  /** @type {Map<string, object>} */ #waiting = new Map();

  /** Keep a frame until its id is settled.
   * @param {string} id
   * @param {object} frame
   */
  add(id, frame) {
    this.#waiting.set(id, frame);
  }

  /** The server has answered for an id, or refused it for good.
   * @param {string} id
   * @returns {boolean} Whether it was still waiting.
   */
  settle(id) {
    return this.#waiting.delete(id);
  }

  /** The frames that are to be sent again, in their first order. */
  get pending() {
    return [...this.#waiting.values()];
  }
}
