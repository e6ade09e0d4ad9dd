// Brings changes of the page in as they happen: the server sends the page's part again when it differs, and what is
// marked data-live is put in its place. Pages are whole without this.
"use strict";
(() => {
  const main = document.querySelector("main[data-version]");
  const pause = document.getElementById("pause");
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

  const key = (element) => element.id || element.getAttribute("href") || element.getAttribute("aria-label");

  function replace(old, fresh) {
    if (old.innerHTML === fresh.innerHTML) return;
    const selection = getSelection();
    if (!selection.isCollapsed && old.contains(selection.anchorNode)) return;
    const focused = old.contains(document.activeElement) ? key(document.activeElement) : null;
    const scrolled = [...old.querySelectorAll(".scroll")].map((e) => [key(e), e.scrollLeft]);
    old.replaceChildren(...fresh.childNodes);
    const find = (wanted) => [...old.querySelectorAll("a, button, [tabindex]")].find((e) => key(e) === wanted);
    for (const [wanted, left] of scrolled) if (left && find(wanted)) find(wanted).scrollLeft = left;
    if (focused && find(focused)) find(focused).focus({ preventScroll: true });
  }

  function put(html) {
    const fresh = new DOMParser().parseFromString(html, "text/html");
    offerCopies(fresh);
    for (const old of main.querySelectorAll("[data-live]")) {
      const part = fresh.getElementById(old.id);
      if (part) replace(old, part);
    }
  }

  function start() {
    if (!main || source || paused || document.hidden) return;
    const of = encodeURIComponent(location.pathname + location.search);
    source = new EventSource(`/live?of=${of}&version=${main.dataset.version}`);
    source.onmessage = (event) => put(JSON.parse(event.data));
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

  if (main && main.querySelector("[data-live]")) {
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
