// The page: images and filters on one side, what was found on the other.

import * as address from "./address.js";
import { galleryImage, moveAmongCards, showCards, showFailure, showLoading, showState, viewsOf } from "./cards.js";
import { Detail } from "./detail.js";
import { $, choose, chosen, h } from "./dom.js";
import { Filters, NONE, isNarrow } from "./filters.js";
import { QueryImages } from "./image.js";
import { Failure, getInfo, getSession, search, searchAsCsv, signIn, signOut } from "./server.js";
import { drawStrip } from "./strip.js";
import * as T from "./texts.js";

const AUTOMATIC_RETRIES = 3;
const KEPT_ANSWERS = 30;
const TALL = 900; // pixels of a window in which the strip is unfolded at first
const REASON = "vireid-reason";
const VIEW = "vireid-view";
const FOUND = ["query-line", "results-actions", "strip"]; // what is there only beside cards

const state = { info: null, request: null, answer: null, running: null, last: null, depth: 0 };
const answers = new Map(); // address → {request, answer}, for the way back

const say = (text) => { $("status").textContent = text; };
const filters = new Filters();
const picked = new QueryImages({ onChange: () => { $("go").disabled = $("apply").disabled = !picked.images.length; } });
const detail = new Detail({ onAgain: searchWith, onFailure: askForToken });

// ---- searching

function requestOf(query) {
  return { ...query, top: Number($("top").value), reason: $("reason").value.trim(), filters: filters.read() };
}

/** Run a request; the answer replaces what is shown. A busy server is asked again by itself. */
async function run(request, { remember = true } = {}) {
  state.running?.abort();
  const running = new AbortController();
  state.running = running;
  state.last = { request, remember };
  showBusy(true);
  showLoading($("cards"), request.top);
  for (const id of FOUND) $(id).hidden = true;
  showFilters(request, null);
  say(T.SEARCHING);
  try {
    const answer = await patiently(() => search(request, running.signal), running.signal);
    await Promise.all((request.images ?? []).map(address.keep));
    if (running.signal.aborted) return;
    note(request, answer, remember);
    show(request, answer);
  } catch (failure) {
    if (failure.name === "AbortError" || running.signal.aborted) return;
    if (failure.status === 401) askForToken();
    showFailure($("cards"), failure, () => run(request, { remember }));
    say("");
  } finally {
    if (state.running === running) {
      state.running = null;
      showBusy(false);
    }
  }
}

/** Give the search its address, and keep its answer for who comes back to it. */
function note(request, answer, remember) {
  const hash = address.write(request);
  if (remember && hash !== window.location.hash) {
    state.depth += state.answer ? 1 : 0;
    window.history.pushState({ depth: state.depth }, "", hash);
  }
  answers.set(hash, { request, answer });
  if (answers.size > KEPT_ANSWERS) answers.delete(answers.keys().next().value);
}

async function patiently(attempt, signal) {
  for (let tries = 0; ; tries += 1) {
    try {
      return await attempt();
    } catch (failure) {
      const later = [429, 503].includes(failure.status) && failure.retryAfter !== null;
      if (!later || tries >= AUTOMATIC_RETRIES || failure.retryAfter > 10) throw failure;
      say(T.waiting(failure.retryAfter));
      await new Promise((resolve) => { setTimeout(resolve, failure.retryAfter * 1000); });
      signal.throwIfAborted();
    }
  }
}

function showBusy(busy) {
  $("go").classList.toggle("working", busy);
  $("go").firstElementChild.textContent = T.searching(busy);
  $("go").setAttribute("aria-disabled", String(busy));
}

function show(request, answer) {
  state.request = request;
  state.answer = answer;
  const { hits } = answer;
  for (const id of FOUND) $(id).hidden = hits.length === 0;
  $("back").hidden = state.depth === 0;
  showFilters(request, answer);
  if (hits.length === 0) {
    showState($("cards"), isNarrow(request.filters) ? "filtered" : "nothing", () => searchWithin(NONE));
    say(T.NOTHING_FOUND);
    return;
  }
  $("results-title").textContent = T.found(hits.length);
  $("results-facts").textContent = T.among(answer.query, answer);
  $("query-notes").replaceChildren(...answer.query.notes.map((text) => h("p", { class: "caution" }, text)));
  $("query-thumb").replaceChildren(...queryThumbs(request, answer));
  const views = viewsOf(hits);
  $("views").hidden = views.length === 1;
  for (const radio of document.getElementsByName("view")) radio.parentElement.hidden = !views.includes(radio.value);
  showStrip();
  redraw();
  say(T.bestOf(answer));
  $("results-title").focus({ preventScroll: true });
  const top = $("results").getBoundingClientRect().top;
  if (top > window.innerHeight * 0.6 || top < 0) $("results").scrollIntoView({ block: "start" });
}

/** The filters of a search, each to be taken away; and the one most often wanted, to be set. */
function showFilters(request, answer) {
  const chips = filters.chips(request.filters, searchWithin);
  const own = answer?.hits.length ? answer.query.modality : null;
  const other = own === "infrared" ? "visible" : "infrared";
  if (own && !request.filters.modality && (state.info?.modalities[other] ?? 0) > 0) {
    chips.push(h("button", {
      class: "button small", type: "button", onclick: () => searchWithin({ ...request.filters, modality: other }),
    }, T.otherSensorOnly(other)));
  }
  $("shown-filters").replaceChildren(...chips);
  $("shown-filters").hidden = chips.length === 0;
}

/** The search that is shown, with other filters. */
function searchWithin(narrowed) {
  const { request } = state.last;
  filters.put(narrowed);
  run({ ...request, filters: narrowed });
}

function queryThumbs(request, answer) {
  if (request.rowId) return [galleryImage(answer.query, "thumb", T.SEARCHED_FOR)];
  return request.images.map((image) => h("span", { class: "image loaded" }, h("img", { src: image.shown, alt: T.SEARCHED_ALT })));
}

function showStrip() {
  drawStrip($("strip"), state.answer.hits, { onPick: openHit });
}

function redraw() {
  if (!state.answer) return;
  const view = viewsOf(state.answer.hits).includes(chosen("view")) ? chosen("view") : "flat";
  showCards($("cards"), state.answer.hits, view, { onOpen: openHit, onAgain: searchWith });
}

function openHit(hit) {
  const byRow = new Map(state.answer.hits.map((other) => [other.row_id, other]));
  const shown = [...document.querySelectorAll(".card")].map((card) => byRow.get(card.dataset.row));
  detail.open(shown, hit, { ...state.answer.query, images: state.request.images });
}

function searchWith(hit) {
  run(requestOf({ rowId: hit.row_id }));
}

// ---- addresses

/** Show the search of the page's address: as it was answered, or asked anew. */
async function restore() {
  if (detail.dialog.open) detail.dialog.close();
  const request = await address.read(window.location.hash);
  state.depth = window.history.state?.depth ?? 0;
  if (!request) {
    state.running?.abort();
    clear();
    return;
  }
  filters.put(request.filters);
  if (![...$("top").options].some((option) => Number(option.value) === request.top)) $("top").add(new Option(request.top));
  $("top").value = request.top;
  if (request.images) request.images = await picked.put(request.images, request.modality);
  const kept = answers.get(window.location.hash);
  if (kept) {
    state.running?.abort();
    state.last = { request: kept.request, remember: false };
    show(kept.request, kept.answer);
  } else if (request.images && !request.complete) {
    clear("gone");
  } else if (state.info.require_reason && !$("reason").value.trim()) {
    clear();
    $("reason").focus();
  } else {
    run({ ...request, reason: $("reason").value.trim() }, { remember: false });
  }
}

function clear(name = state.info.count === 0 ? "empty" : "start") {
  state.request = state.answer = null;
  for (const id of [...FOUND, "shown-filters"]) $(id).hidden = true;
  showState($("cards"), name);
}

async function saveAsCsv() {
  try {
    const url = URL.createObjectURL(await searchAsCsv(state.request));
    h("a", { href: url, download: T.CSV_NAME }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  } catch (failure) {
    if (!(failure instanceof Failure)) throw failure;
    if (failure.status === 401) askForToken();
    showFailure($("cards"), failure, () => redraw());
  }
}

// ---- the index and who may ask it

async function start() {
  try {
    const session = await getSession();
    if (session.required && !session.user) {
      askForToken();
      return;
    }
    state.info = await getInfo();
  } catch (failure) {
    if (failure.status === 401) askForToken();
    else showFailure($("cards"), failure, start);
    return;
  }
  const { info } = state;
  $("index-facts").textContent = T.indexFacts(info);
  const signedIn = info.user !== "local";
  $("user").hidden = $("sign-out").hidden = !signedIn;
  $("user").textContent = signedIn ? info.user : "";
  $("reason-field").hidden = !info.require_reason;
  $("reason").required = info.require_reason;
  $("reason").value ||= address.remembered(REASON) ?? "";
  $("audit-hint").hidden = !info.audited;
  picked.allow(info);
  filters.fill(info);
  if (!state.answer) await restore();
}

function askForToken() {
  if (!$("sign-in").open) $("sign-in").showModal();
  $("token").focus();
}

async function trySignIn(event) {
  event.preventDefault();
  $("sign-in-problem").hidden = true;
  try {
    await signIn($("token").value);
  } catch (failure) {
    $("sign-in-problem").textContent = failure.message;
    $("sign-in-problem").hidden = false;
    $("token").select();
    return;
  }
  $("token").value = "";
  $("sign-in").close();
  const { last, answer } = state;
  await start();
  if (last && !answer && !state.running) run(last.request, { remember: last.remember });
}

async function endSession() {
  address.forget();
  try {
    await signOut();
  } finally {
    window.location.replace("/");
  }
}

// ---- colours

function dark() {
  const { theme } = document.documentElement.dataset;
  return theme ? theme === "dark" : window.matchMedia("(prefers-color-scheme: dark)").matches;
}

function nameTheme() {
  $("theme").setAttribute("aria-label", T.useTheme(dark()));
}

function switchTheme() {
  const theme = dark() ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem("vireid-theme", theme);
  } catch {
    // Storage is blocked: the choice lasts as long as the page.
  }
  nameTheme();
}

// ---- wiring

async function submit(event) {
  event.preventDefault();
  if (!picked.images.length || !filters.valid()) return;
  if (state.info?.require_reason && !$("reason").value.trim()) {
    $("reason").focus();
    $("reason").reportValidity();
    return;
  }
  if (!(await picked.decide())) return;
  address.remember(REASON, $("reason").value.trim());
  run(requestOf({ images: picked.images, modality: picked.modality }));
}

T.fillTexts();
picked.hint("");
nameTheme();
choose("view", address.remembered(VIEW) ?? "flat");
$("query").addEventListener("submit", submit);
$("back").addEventListener("click", () => window.history.back());
$("csv").addEventListener("click", saveAsCsv);
$("theme").addEventListener("click", switchTheme);
$("sign-out").addEventListener("click", endSession);
$("sign-in-form").addEventListener("submit", trySignIn);
$("sign-in").addEventListener("cancel", (event) => event.preventDefault());
$("cards").addEventListener("keydown", (event) => moveAmongCards($("cards"), event));
window.addEventListener("popstate", () => { if (state.info) restore(); });
for (const radio of document.getElementsByName("view")) {
  radio.addEventListener("change", () => {
    address.remember(VIEW, radio.value);
    redraw();
  });
}
let resizing = null;
window.addEventListener("resize", () => {
  clearTimeout(resizing);
  resizing = setTimeout(() => { if (state.answer?.hits.length) showStrip(); }, 150);
});
const narrow = window.matchMedia("(max-width: 60rem)").matches;
$("strip").open = !narrow && window.innerHeight >= TALL;
if (narrow) $("filters").open = false;
start();
