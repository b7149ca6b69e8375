// The pages of the desk work without this script. With it, a page follows what changes: at
// each event of its stream it fetches itself again and replaces the elements with data-live,
// by id. It warns before an idle session ends.
'use strict';

// live: at each event the page is fetched again, which is no activity of the PI. A case that
// has changed is not shown in place of the one that the PI looks at: the form is closed.
(() => {
  const path = document.body.dataset.livePath;
  if (!path || !window.EventSource) return;
  const policy = window.trustedTypes?.createPolicy('desk', { createHTML: (html) => html }) ?? { createHTML: (html) => html };
  const page = document.querySelector('[data-page]')?.dataset.page ?? location.href; // a form that was refused has another address
  const pause = 15000; // ms until a stream that the server refused is tried again
  let source, timer, reading = false, again = false, over = false;

  const close = () => { source?.close(); source = undefined; clearTimeout(timer); };

  const replace = (html) => {
    const fresh = new DOMParser().parseFromString(policy.createHTML(html), 'text/html');
    const changed = document.getElementById('changed');
    if (changed && changed.dataset.stamp !== fresh.getElementById('changed')?.dataset.stamp) {
      changed.firstElementChild.hidden = false;
      const button = document.getElementById('sign-button');
      if (button) button.disabled = true;
      over = true;
      close();
      return;
    }
    for (const old of document.querySelectorAll('[data-live]')) {
      const now = fresh.getElementById(old.id);
      if (!now || now.isEqualNode(old)) continue;
      const focused = old.contains(document.activeElement) ? document.activeElement.getAttribute('href') : null;
      old.replaceWith(document.adoptNode(now));
      if (focused) [...now.querySelectorAll('a')].find((a) => a.getAttribute('href') === focused)?.focus({ preventScroll: true });
    }
  };

  const read = async () => {
    if (reading) { again = true; return; }
    reading = true;
    again = false;
    try {
      const answer = await fetch(page, { headers: { 'X-Live': '1' }, signal: AbortSignal.timeout(10000) });
      if (answer.redirected || answer.status === 404) { over = true; close(); location.assign(page); return; } // the session or the grant has ended
      if (answer.ok) replace(await answer.text());
    } catch { /* the server does not answer; the stream tries again */ }
    reading = false;
    if (again && !over) read();
  };

  const open = () => {
    close();
    if (over || document.hidden) return;
    source = new EventSource(path);
    for (const name of ['open', 'waiting', 'published', 'delivered', 'acknowledged']) source.addEventListener(name, read);
    source.addEventListener('error', () => {
      if (source?.readyState !== EventSource.CLOSED) return; // the browser connects again
      read();
      timer = setTimeout(open, pause);
    });
  };

  document.addEventListener('visibilitychange', open);
  window.addEventListener('pagehide', close);
  window.addEventListener('pageshow', (e) => { if (e.persisted) open(); });
  open();
})();
