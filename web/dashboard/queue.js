// @ts-check
/** The rebuilds that wait, and the settings that one tries, in words. Pure. */

/**
 * @typedef {{id: string, model: string, state: string, position: number | null, trigger: string, by: string, reason: string,
 *   cancelling: boolean}} QueuedJob
 */

/** @type {Record<string, string>} */ const WHY = { count: "new labels", time: "time", drift: "drift" };

/** Those that wait, in their order. @param {QueuedJob[]} jobs */
export function waiting(jobs) {
  return jobs.filter(({ state }) => state === "queued").sort((a, b) => (a.position ?? 0) - (b.position ?? 0));
}

/** What began it. @param {QueuedJob} job */
export function triggerText({ trigger, by, reason }) {
  const who = WHY[trigger] ? `because of ${WHY[trigger]}` : by ? `asked for by ${by}` : "asked for by an operator";
  return reason ? `${who}: ${reason}` : who;
}

/** The settings that a rebuild tries, as the rows of a table. @param {import("../lib/protocol.js").Tried[]} tried */
export function triedRows(tried) {
  return tried.map(({ hyperparameters, status, accuracy, seconds, cost, kept }) => ({
    kept,
    cells: [
      Object.entries(hyperparameters).sort().map((pair) => pair.join("=")).join(" "),
      kept ? "kept" : status,
      accuracy === null ? "" : `${(accuracy * 100).toFixed(2)} %`,
      seconds ? seconds.toFixed(0) : "",
      cost === null ? "" : `$${cost.toFixed(4)}`,
    ],
  }));
}
