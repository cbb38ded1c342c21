// @ts-check
/** An answer of the API that is kept fresh: asked for again every few seconds, and soon after the dashboard's socket tells of a
 * change of the models. */

import { say } from "./dom.js";
import { Socket } from "./socket.js";

const EVERY_MS = 4_000;
/** Many changes at once are one. */
const SOON_MS = 300;
/** A server that hangs is asked again after this. */
const PATIENCE_MS = 15_000;

/** Ask for an address for ever.
 * @template T
 * @param {string} address Of this page's own server.
 * @param {HTMLElement} connection Where the state is told.
 * @param {(answer: T) => void} show Called with an answer that differs from the one before.
 * @param {{listens?: boolean, refused?: (why: string) => void}} [options] Whether it listens to the socket; a page that has one of
 *   its own need not have two. What is told why the server does not answer this, though it is there.
 */
export function poll(address, connection, show, { listens = true, refused = () => {} } = {}) {
  let before = "";
  /** @type {number | undefined} */ let timer;
  let asking = false;

  async function ask() {
    if (asking) return;
    asking = true;
    clearTimeout(timer);
    const { text, why } = await answered(address);
    asking = false;
    again(EVERY_MS);
    tell(text === null ? "waiting" : "live", text !== null ? "Live" : why ? "Not answered, trying again" : "Offline, trying again");
    if (why) {
      before = "";
      refused(why);
    }
    if (text === null || text === before) return;
    before = text;
    show(JSON.parse(text));
  }

  /** @param {number} ms */
  function again(ms) {
    clearTimeout(timer);
    timer = setTimeout(() => (document.visibilityState === "visible" ? ask() : again(EVERY_MS)), ms);
  }

  /** @param {string} state @param {string} text */
  function tell(state, text) {
    connection.dataset.state = state;
    say(connection, text);
  }

  if (listens) new Socket("/ws/watch", {
    onOpen: () => again(0),
    onState: () => {},
    onFrame: (frame) => frame.type === "model" && frame.event !== "learned" && again(SOON_MS),
  });
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && ask());
  ask();
}

/** What the server answers; null: nothing that could be shown, and why, if it said so.
 * @param {string} address
 * @returns {Promise<{text: string | null, why: string}>}
 */
async function answered(address) {
  try {
    const response = await fetch(address, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    if (response.ok) return { text: await response.text(), why: "" };
    const told = await response.json().catch(() => ({}));
    return { text: null, why: String(told.detail ?? told.reason ?? `the game answered with ${response.status}`) };
  } catch {
    return { text: null, why: "" }; // the network is away, and the page says so
  }
}
