// @ts-check
/** An answer of the API that is kept fresh: asked for again every few seconds, and soon after the dashboard's socket tells of a
 * change of the models. */

import { say } from "./dom.js";
import { Socket } from "./socket.js";

const EVERY_MS = 4_000;
/** Many changes at once are one. */
const SOON_MS = 300;

/** Ask for an address for ever.
 * @template T
 * @param {string} address Of this page's own server.
 * @param {HTMLElement} connection Where the state is told.
 * @param {(answer: T) => void} show Called with an answer that differs from the one before.
 */
export function fresh(address, connection, show) {
  let before = "";
  /** @type {number | undefined} */ let timer;
  let asking = false;

  async function ask() {
    if (asking) return;
    asking = true;
    clearTimeout(timer);
    try {
      const response = await fetch(address, { cache: "no-store" });
      if (!response.ok) throw new Error(`the server said ${response.status}`);
      const text = await response.text();
      if (text !== before) show(JSON.parse(text));
      before = text;
      tell("live", "Live");
    } catch (wrong) {
      if (!(wrong instanceof TypeError || /^the server said/.test(String(/** @type {any} */ (wrong)?.message)))) throw wrong;
      tell("waiting", "Offline, trying again");
    } finally {
      asking = false;
      again(EVERY_MS);
    }
  }

  /** @param {number} ms */
  function again(ms) {
    clearTimeout(timer);
    timer = setTimeout(() => (document.visibilityState === "visible" ? ask() : again(EVERY_MS)), ms);
  }

  /** @param {string} state @param {string} words */
  function tell(state, words) {
    connection.dataset.state = state;
    say(connection, words);
  }

  new Socket("/ws/watch", {
    onOpen: () => again(0),
    onState: () => {},
    onFrame: (frame) => frame.type === "model" && frame.event !== "learned" && again(SOON_MS),
  });
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && ask());
  ask();
}
