// @ts-check
/** The frames of /ws/play and /ws/watch, as types; the server's side is in api/. Nothing runs here.
 *
 * @typedef {{model: string, version: string, title: string, kind?: "batch" | "online"}} Model
 * @typedef {{version_before: string, version_after: string, p_before: number, p_after: number}} Change
 *
 * @typedef {{type: "joined", player_id: string, seat: string, room: string | null, models: Model[]}} Joined
 * @typedef {{type: "saved", drawing_id: string}} Saved
 * @typedef {{type: "guess", drawing_id: string, model: string, version: string, label: number, confidence: number,
 *   probabilities: number[], final: boolean, hops: Record<string, number>, fallback?: string | null}} Guess
 * @typedef {{type: "receipt", correction_id: string, drawing_id: string,
 *   outcome: "learned" | "weighted" | "quarantined" | "superseded", models: Record<string, Change>}} Receipt
 * @typedef {{type: "model", model: string, version: string, event: "published" | "promoted" | "rolled-back",
 *   note: string, title?: string}} ModelChanged
 * @typedef {{type: "model", event: "learned"} & Model} ModelLearned
 * @typedef {{type: "room", room: string, players: string[]}} Room
 * @typedef {{type: "error", code: string, message: string, drawing_id?: string | null}} Failure
 * @typedef {Joined | Saved | Guess | Receipt | ModelChanged | Room | Failure} PlayFrame
 *
 * @typedef {object} Score Counts since the start, absolute.
 * @property {number} n
 * @property {number} correct
 * @property {number[]} confusion 100 counts, row: the player's label, column: the guess.
 * @property {number[]} latency 12 counts; LATENCY_MS has their upper bounds.
 * @property {Record<string, {n: number, correct: number}>} versions
 * @property {[number, number, number][]} recent Windows of ten seconds: start (Unix seconds), n, correct.
 *
 * @typedef {{version: string, step: string, fraction: number, message: string}} Training
 * @typedef {{type: "snapshot", models: Model[], scores: Record<string, Score>, online: number, drawings: number,
 *   training: Record<string, Training>}} Snapshot
 * @typedef {{type: "scores", scores: Record<string, Score>}} Scores
 * @typedef {{type: "training", model: string, log?: string[]} & Training} TrainingAdvanced
 * @typedef {{type: "online", online: number, drawings: number}} Online
 * @typedef {Snapshot | Scores | ModelChanged | ModelLearned | TrainingAdvanced | Online} WatchFrame
 */

export {};
