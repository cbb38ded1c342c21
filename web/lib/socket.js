// @ts-check
/** A WebSocket that comes back: waits longer after each failure, at once when the network returns, and always says where it is. */

/**
 * @typedef {object} State
 * @property {"connecting" | "open" | "waiting"} name
 * @property {number} [retryMs] While waiting: when the next try is, in ms from now.
 * @property {string} [reason] While waiting: what the server said when it closed, if it said anything.
 *
 * @typedef {object} Handlers
 * @property {() => void} onOpen
 * @property {(frame: any) => void} onFrame It may throw: the console shows it and the socket lives on.
 * @property {(state: State) => void} onState
 */

const FIRST_MS = 250;
const LONGEST_MS = 8_000;
const REFUSED_MS = 15_000;
/** A connection that lived this long was a good one: the next failure starts from the shortest wait again. */
const GOOD_MS = 5_000;

/** How long to wait before the next try.
 * @param {number} failures In a row, at least 1.
 * @param {number} code With which the socket was closed; 1008 and 1009 say that this client did wrong.
 * @param {number} chance In 0..1: spreads the clients of a server that comes back.
 * @returns {number} In ms.
 */
export function backoff(failures, code, chance) {
  if (code === 1008 || code === 1009) return REFUSED_MS;
  return Math.min(FIRST_MS * 2 ** (failures - 1), LONGEST_MS) * (0.5 + chance / 2);
}

export class Socket {
  /** @type {WebSocket | null} */ #socket = null;
  /** @type {number | undefined} */ #timer;
  #failures = 0;
  #openedAt = 0;
  #renewing = false;
  #url;
  #handlers;

  /**
   * @param {string} path Of this page's own server.
   * @param {Handlers} handlers
   */
  constructor(path, handlers) {
    const url = new URL(path, location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    this.#url = url;
    this.#handlers = handlers;
    addEventListener("online", () => this.#again());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.#again());
    this.#connect();
  }

  /** Send a frame if the socket is open.
   * @param {object} frame
   * @returns {boolean} Whether it went out; not whether it arrived.
   */
  send(frame) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  /** What is waiting to leave, in bytes. */
  get backlog() {
    return this.#socket?.bufferedAmount ?? 0;
  }

  /** Leave and come back, as for a new name. */
  renew() {
    this.#renewing = true;
    if (this.#socket) this.#socket.close(1000);
    else this.#again();
  }

  #connect() {
    this.#handlers.onState({ name: "connecting" });
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    socket.onopen = () => {
      this.#openedAt = performance.now();
      this.#handlers.onState({ name: "open" });
      this.#handlers.onOpen();
    };
    socket.onmessage = (message) => this.#handlers.onFrame(JSON.parse(message.data));
    socket.onclose = (close) => {
      if (this.#openedAt && performance.now() - this.#openedAt > GOOD_MS) this.#failures = 0;
      this.#openedAt = 0;
      this.#socket = null;
      this.#failures += 1;
      const retryMs = this.#renewing ? 0 : backoff(this.#failures, close.code, Math.random());
      this.#renewing = false;
      this.#handlers.onState({ name: "waiting", retryMs, reason: close.reason });
      this.#timer = setTimeout(() => this.#connect(), retryMs);
    };
  }

  #again() {
    if (this.#socket) return;
    clearTimeout(this.#timer);
    this.#connect();
  }
}

/** What the page says of a state.
 * @param {State} state
 * @returns {string}
 */
export function described(state) {
  if (state.name === "open") return "Live";
  if (state.name === "connecting") return "Connecting …";
  const because = state.reason ? ` (${state.reason})` : "";
  return `Offline${because}, trying again`;
}
