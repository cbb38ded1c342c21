// @ts-check
/** As whom this page joins: the player of its seat, the player of a code from another device, or a guest. Pure. */

/**
 * @typedef {{name: string, room: string | null, seat: string | null}} Player
 * @typedef {{type: "join", questions: true} & Record<string, unknown>} Join
 */

const NAMELESS = "Guest";
/** Errors that say nothing of the join. */
const BESIDE = new Set(["not_joined", "too_fast"]);

export class Joining {
  /** The code that is to be given, or was and is not answered. @type {string | null} */ #code = null;
  /** Whether this connection was refused once for its name, room or seat. */
  #refused = false;

  /** Go on as the player of a code, from the next connection on.
   * @param {string} code
   */
  carry(code) {
    this.#code = code;
  }

  /** Whether a code is waiting for its answer. */
  get carrying() {
    return this.#code !== null;
  }

  /** Let go of the code. @returns {boolean} Whether there was one. */
  drop() {
    const carrying = this.carrying;
    this.#code = null;
    return carrying;
  }

  /** The first frame on a new connection.
   * @param {Player} player
   * @returns {Join}
   */
  opened({ name, room, seat }) {
    this.#refused = false;
    const who = this.#code === null ? { room, seat } : { room: null, code: this.#code };
    return { type: "join", name: name || NAMELESS, ...who, questions: true };
  }

  /** What to send when the server has refused to let the page join: a code's place is taken by the seat, and the seat's by a guest.
   * @param {string} error Its code.
   * @param {Player} player
   * @returns {Join | null} Null: nothing.
   */
  refused(error, player) {
    if (BESIDE.has(error)) return null;
    if (this.drop()) return this.opened(player);
    if (this.#refused) return null;
    const guest = this.opened({ name: NAMELESS, room: null, seat: null });
    this.#refused = true;
    return guest;
  }
}
