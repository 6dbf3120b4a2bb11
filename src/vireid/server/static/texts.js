// Every word that the page says. `fillTexts` puts those of index.html in their places.

import { bytes, count, plural, similarity, timeFull, timeRange, timeShort } from "./format.js";

/** Of elements with data-text, and of aria-label and placeholder with data-label, data-placeholder. */
export const PAGE = {
  skip: "Skip to the results",
  signOut: "Sign out",
  form: "Search",
  image: "Person",
  choose: "Choose an image of one person",
  chooseHelp: "or drop or paste it here; several if all show that person. The server doesn't keep them.",
  replace: "Change",
  add: "Add another image",
  takenBy: "Taken by",
  infraredCamera: "Infrared camera",
  visibleCamera: "Visible camera",
  why: "Why do you search?",
  whyHelp: "Case number or reason",
  whyHint: "Written to the log of this server.",
  search: "Search",
  audited: "This server records who searches when, not the images.",
  among: "Search among",
  sensor: "Sensor",
  both: "Both",
  visible: "Visible",
  infrared: "Infrared",
  cameras: "Cameras",
  noneIsAll: "(none chosen: all)",
  cameraSearch: "Number or name",
  cameraSearchLabel: "Show only cameras with this number or name",
  identity: "Identity",
  identityHelp: "Numbers or names, such as 7, 12",
  time: "Time",
  from: "From",
  to: "To",
  show: "Show",
  images: "images",
  applyFilters: "Search with these",
  clearFilters: "Clear filters",
  back: "Back",
  backLabel: "Back to the previous search",
  csv: "CSV",
  csvLabel: "Save as CSV",
  arrange: "Arrange",
  bySimilarity: "By similarity",
  byPerson: "By person",
  byMinute: "By minute",
  filtersShown: "Filters of this search",
  previous: "Previous result",
  next: "Next result",
  close: "Close",
  signInTitle: "Sign in",
  signInWhy: "This server asks for a token. The person who runs it has yours.",
  token: "Token",
  signIn: "Sign in",
  drawBox: "Draw a box around the person",
  drawBoxHelp: "Drag over the image, or move the box and its corners.",
  drawBoxKeys: "Arrow keys move the box, with Shift they change its size.",
  boxLabel: "Box: arrow keys move it, with Shift they change its size",
  left: "Left",
  top: "Top",
  width: "Width",
  height: "Height",
  useBox: "Use this box",
  useWhole: "Use the whole image",
};

export const NIGHT = "Night cameras are infrared: their images have no colour.";
export const LOOKS_INFRARED = "It has no colour, so it is taken for infrared. Change it if that is wrong.";
export const LOOKS_VISIBLE = "It has colour, so it is taken for visible. Change it if that is wrong.";

// ---- people, cameras, images

export const cameraName = ({ camid, camera }) => camera || (camid < 0 ? "Camera unknown" : `Camera ${camid}`);
export const cameraFull = (entry) => (entry.camera ? `${entry.camera} (camera ${entry.camid})` : cameraName(entry));
export const personName = (pid) => (pid === null ? "Identity not recorded" : `Person ${pid}`);
export const sensorName = (modality) => (modality === "infrared" ? PAGE.infrared : PAGE.visible);
export const UNKNOWN = "Not recorded";
export const TIME_UNKNOWN = "Time not recorded";
export const CANNOT_SHOW = "Image can't be shown";
export const PASTED = "Pasted image";

/** What a similarity means in this index, or null where that has too few people to tell. */
export const strangers = ({ one_in: number }) => (number === null ? null
  : number < 2 ? "Strangers look this alike" : `1 in ${count(number)} strangers looks this alike`);

export const TOO_FEW = "Too few people are in this index to say how many strangers look this alike";

export const strangersShort = ({ one_in: number }) => (number < 2 ? "Like strangers" : `1 in ${count(number)} strangers`);

export function describe(hit) {
  const time = hit.time === null ? TIME_UNKNOWN.toLowerCase() : timeShort(hit.time);
  return [`Result ${hit.rank}: similarity ${similarity(hit.similarity)}`, cameraFull(hit),
    sensorName(hit.modality).toLowerCase(), time, personName(hit.pid), strangers(hit)].filter(Boolean).join(", ");
}

/** "3 min later", "2 h earlier". */
export function gap(seconds) {
  const size = Math.abs(seconds);
  if (size < 1) return "at the same time";
  const [number, unit] = size < 90 ? [size, "s"] : size < 5400 ? [size / 60, "min"]
    : size < 129600 ? [size / 3600, "h"] : [size / 86400, "days"];
  return `${Math.round(number)} ${unit} ${seconds > 0 ? "later" : "earlier"}`;
}

// ---- the image to search with

export const EMPTY_FILE = "The file is empty; choose an image.";
export const NO_IMAGE = "The file is not an image that can be read. JPEG, PNG, WebP and BMP are.";
export const tooManyBytes = (size, limit) =>
  `The images have ${bytes(size)}; at most ${bytes(limit)} are allowed in all. Crop the person or make the image smaller.`;
export const tooManyPixels = (pixels, limit) =>
  `The images have ${count(Math.round(pixels / 1e6))} million pixels; at most ${count(limit / 1e6)} million are allowed in all. Crop the person first.`;
export const tooManyImages = (limit) => `One search takes at most ${plural(limit, "image", "images")} of a person.`;
export const imageFacts = (width, height, size) => `${count(width)} × ${count(height)}, ${bytes(size)}`;
export const boxFacts = (box) => `box of ${count(box.width)} × ${count(box.height)}`;
export const NEEDS_BOX = "needs a box";
export const BOX = "Box";
export const REMOVE = "Remove";
export const boxOf = (name) => `Draw a box in ${name}`;
export const removeOf = (name) => `Remove ${name}`;
export const ownAlt = (name) => `Your image ${name}`;

// ---- filters

export const cameraShort = ({ camid, name }, named) => name ?? (named ? `Camera ${camid}` : String(camid));
export const cameraChip = ({ camid, name, count: number }) =>
  `${name ? `${name}, camera ${camid}` : `Camera ${camid}`}, ${plural(number, "image", "images")}`;
export const activeFilters = (number) => plural(number, "filter", "filters");
export const TIMES_SWAPPED = "The first time is after the last one.";
export const sensorOnly = (modality) => `${sensorName(modality)} images only`;
export const otherSensorOnly = (modality) => `Other sensor only (${sensorName(modality).toLowerCase()})`;
export const someCameras = (number) => plural(number, "camera", "cameras");
export const timeFilter = (from, to) => (from === null ? `until ${timeShort(to)}`
  : to === null ? `from ${timeShort(from)}` : timeRange(from, to));
export const identityFilter = (people) => `Identity ${people}`;
export const without = (filter) => `Search without this filter: ${filter}`;

// ---- searching and what came of it

export const SEARCHING = "Searching";
export const searching = (busy) => (busy ? "Searching…" : PAGE.search);
export const waiting = (seconds) => `The server is busy; trying again in ${seconds} s`;
export const found = (number) => `${count(number)} most similar`;
export const NOTHING_FOUND = "Nothing was found";
export const bestOf = (answer) => {
  const [best] = answer.hits;
  return `${found(answer.hits.length)}. The best has similarity ${similarity(best.similarity)}, ${cameraName(best)}. ${answer.query.notes.join(" ")}`;
};
export const among = (query, answer) =>
  `${queryWords(query)}, among ${plural(answer.searched, "image", "images")} in ${Math.round(answer.milliseconds)} ms`;
const queryWords = (query) => {
  if (query.row_id) return `${sensorName(query.modality)} image of ${cameraName(query).replace(/^Camera/, "camera")}`;
  return query.images > 1 ? `${query.images} ${sensorName(query.modality).toLowerCase()} images of yours`
    : `${sensorName(query.modality)} image of yours`;
};
export const SEARCHED_FOR = "Searched for";
export const SEARCHED_ALT = "Searched for: your image";
export const FOUND = "Found";
export const yourImages = (number) => (number > 1 ? `, your ${number} images` : ", your image");
export const AGAIN = "Search with this one";
export const againWith = (rank) => `Search with result ${rank}`;
export const moreOfMinute = (number) => `${count(number)} more of this minute`;
export const FEWER = "Show fewer";
export const showAll = (number) => `Show all ${count(number)}`;
export const groupFacts = (hits) => `${plural(hits.length, "image", "images")}, best ${similarity(hits[0].similarity)}`;
export const CSV_NAME = "vireid-search.csv";

export const indexFacts = (info) => [
  plural(info.count, "image", "images"),
  info.cameras.some((camera) => camera.camid >= 0) ? someCameras(info.cameras.filter((camera) => camera.camid >= 0).length) : null,
  info.identities > 0 ? plural(info.identities, "known person", "known people") : null,
].filter(Boolean).join(" · ");

/** [title, sentence, words of a button] of every state without cards. */
export const STATES = {
  empty: ["The index is empty", "Add images to it from the shell with vireid index add, then reload this page."],
  start: ["Find one person", "Choose an image of a person. You see the most similar images of every camera, from infrared to visible and back."],
  filtered: ["No image passes the filters", "Choose more cameras, a longer time, or fewer filters.", "Clear filters and search"],
  nothing: [NOTHING_FOUND, "The index has no entries to compare with."],
  gone: ["The image of this search is not here any more", "A page keeps images only while its tab is open, small ones beyond a reload. Choose the image again: the filters are set."],
};
export const FAILED = "The search did not work";
export const FAILURES = {
  unreachable: "The server can't be reached", busy: "The server is busy", late: "The server is busy",
  rate: "Too many searches", failures: "Too many wrong tokens", sign_in: "Signed out", token: "Signed out",
};
export const RETRY = "Try again";
export const UNREACHABLE = "It doesn't answer. See whether it still runs, then try again.";
export const status = (number) => `The server answered with the status ${number}.`;

// ---- one result

export const resultOf = (rank, number) => `Result ${rank} of ${count(number)}`;
export const resultAlt = (hit) => `Result ${hit.rank}: ${cameraName(hit)}`;
export const FACTS = { similarity: "Similarity", camera: "Camera", time: "Time", apart: "To the query", identity: PAGE.identity, file: "File" };
export const CAUTION = "A similarity is a hint, not a proof. Compare the images yourself before you act on it.";
export const OPEN_IMAGE = "Open image";
export const sightingsOf = (pid) => `${personName(pid)}: where and when`;
export const LOOK_ALIKE = "Images that look like this one";
export const unconfirmed = (number) =>
  `${plural(number, "image", "images")} by similarity alone; nobody has confirmed that they show one person`;

// ---- where and when

export const WHERE_AND_WHEN = "Where and when";
export const WHEN = "When";
export function stripSummary(hits, timed) {
  const cameras = new Set(hits.filter((hit) => hit.camid >= 0).map((hit) => hit.camid)).size;
  const images = plural(hits.length, "image", "images");
  const text = cameras ? `${images} from ${someCameras(cameras)}` : images;
  const times = timed.map((hit) => hit.time);
  const rest = hits.length - timed.length;
  const untimed = rest ? `; ${count(rest)} of them without a time` : "";
  return `${text}, ${timeRange(Math.min(...times), Math.max(...times))}${untimed}`;
}
export const moreCameras = (number) => `and ${plural(number, "more camera", "more cameras")}`;
export const sighting = (hit) => `${cameraFull(hit)}, ${timeFull(hit.time)}, similarity ${similarity(hit.similarity)}`;
export const SIZE_MEANS = "Larger and stronger: more similar";
export const AS_TABLE = "As a table";
export const COLUMNS = ["Time", "Camera", "Sensor", "Similarity"];

// ---- colours

export const useTheme = (dark) => (dark ? "Use light colours" : "Use dark colours");

export function fillTexts() {
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = PAGE[element.dataset.text];
  for (const element of document.querySelectorAll("[data-label]")) element.setAttribute("aria-label", PAGE[element.dataset.label]);
  for (const element of document.querySelectorAll("[data-placeholder]")) element.placeholder = PAGE[element.dataset.placeholder];
}
