// Brings changes of the page in as they happen: the server sends the page's part again when it differs, and what is
// marked data-live is put in its place; lines are added to a log that is marked data-tail. Pages are whole without this.
"use strict";
(() => {
  const main = document.querySelector("main[data-version]");
  const pause = document.getElementById("pause");
  const tail = document.querySelector("[data-tail]");
  const LINES = 3000;
  let source = null;
  let paused = false;

  const offerCopies = (within) => within.querySelectorAll("button[data-copy]").forEach((b) => (b.hidden = false));
  offerCopies(document);
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy]");
    if (!button) return;
    await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent);
    button.textContent = "Copied";
  });

  // Rows of a table with some text in them.
  const filters = [...document.querySelectorAll("[data-filter]")];
  function filter(label) {
    const wanted = label.querySelector("input").value.toLowerCase();
    const rows = document.querySelectorAll(`#${label.dataset.filter} tbody tr`);
    for (const row of rows) row.hidden = wanted !== "" && !row.textContent.toLowerCase().includes(wanted);
  }
  for (const label of filters) {
    label.hidden = false;
    label.addEventListener("input", () => filter(label));
    filter(label);
  }

  // By what an element is found again in another version of its part.
  const FOUND = "a, button, summary, input, select, [tabindex]";
  const key = (element) =>
    element.id || element.getAttribute("href") || element.getAttribute("aria-label") ||
    [element.form?.getAttribute("action"), ...hiddenOf(element.form), element.name, element.textContent].join(" ");
  const hiddenOf = (form) => [...(form?.querySelectorAll("input[type=hidden]") ?? [])].map((e) => e.value);
  // What somebody has typed or ticked.
  const given = (within) =>
    [...within.querySelectorAll("input:not([type=hidden])")]
      .filter((e) => e.value !== e.defaultValue || e.checked !== e.defaultChecked)
      .map((e) => [key(e), e.value, e.checked]);
  const opened = (within) => [...within.querySelectorAll("details")];

  function replace(old, fresh) {
    if (old.innerHTML === fresh.innerHTML) return;
    const selection = getSelection();
    if (!selection.isCollapsed && old.contains(selection.anchorNode)) return;
    // Nor under somebody who writes.
    if (old.contains(document.activeElement) && document.activeElement.matches("input, select")) return;
    const focused = old.contains(document.activeElement) ? key(document.activeElement) : null;
    const scrolled = [...old.querySelectorAll(".scroll, .drawing")].map((e) => [key(e), e.scrollLeft]);
    const open = opened(old).map((details) => details.open);
    const typed = given(old);
    opened(fresh).forEach((details, i) => (details.open = open[i] || details.open));
    old.replaceChildren(...fresh.childNodes);
    const find = (wanted) => [...old.querySelectorAll(FOUND)].find((e) => key(e) === wanted);
    for (const [wanted, value, checked] of typed) if (find(wanted)) Object.assign(find(wanted), { value, checked });
    for (const [wanted, left] of scrolled) if (left && find(wanted)) find(wanted).scrollLeft = left;
    if (focused && find(focused)) find(focused).focus({ preventScroll: true });
    filters.filter((label) => label.dataset.filter === old.id).forEach(filter);
  }

  function put(html) {
    const fresh = new DOMParser().parseFromString(html, "text/html");
    offerCopies(fresh);
    for (const old of main.querySelectorAll("[data-live]")) {
      const part = fresh.getElementById(old.id);
      if (part) replace(old, part);
    }
  }

  function add(lines) {
    const known = new Set([...tail.children].map((line) => line.dataset.id));
    const atEnd = tail.scrollHeight - tail.scrollTop - tail.clientHeight < 40;
    for (const line of lines) {
      if (known.has(line.id)) continue;
      const row = document.createElement("div");
      row.className = "fresh";
      row.dataset.id = line.id;
      const time = document.createElement("time");
      time.textContent = line.at;
      const stream = document.createElement("span");
      stream.className = "quiet";
      stream.textContent = line.stream;
      row.append(time, " ", stream, " ", line.text);
      if (line.trace) {
        const trace = document.createElement("a");
        trace.href = `/traces/${line.trace}`;
        trace.textContent = "Trace";
        row.append(" ", trace);
      }
      tail.append(row);
    }
    while (tail.children.length > LINES) tail.firstElementChild.remove();
    tail.hidden = tail.children.length === 0;
    document.getElementById("no-lines").hidden = !tail.hidden;
    if (atEnd) tail.scrollTop = tail.scrollHeight;
  }

  function start() {
    if (!main || source || paused || document.hidden) return;
    const of = encodeURIComponent(location.pathname + location.search);
    const what = tail ? `after=${tail.dataset.tail}` : `version=${main.dataset.version}`;
    source = new EventSource(`/live?of=${of}&${what}`);
    source.onmessage = (event) => (tail ? add : put)(JSON.parse(event.data));
    // Refused for good, as when too many pages are open: later there may be room.
    source.onerror = () => {
      if (!source || source.readyState !== EventSource.CLOSED) return;
      stop();
      setTimeout(start, 5000);
    };
  }

  function stop() {
    if (source) source.close();
    source = null;
  }

  if (main && (tail || main.querySelector("[data-live]"))) {
    if (tail) {
      tail.scrollTop = tail.scrollHeight;
      document.getElementById("following").hidden = false;
    }
    pause.hidden = false;
    pause.addEventListener("click", () => {
      paused = !paused;
      pause.setAttribute("aria-pressed", String(paused));
      if (paused) stop();
      else start();
    });
    document.addEventListener("visibilitychange", () => (document.hidden ? stop() : start()));
    start();
  }
})();
