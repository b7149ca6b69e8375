// Follows the server: at each event of /live it fetches the page again and replaces the
// elements with data-live, by id. Without it the page shows what it showed when it was
// loaded. It closes the stream while the page is hidden.
'use strict';
(() => {
  const get = (id) => document.getElementById(id);
  const policy = window.trustedTypes?.createPolicy('desk', { createHTML: (html) => html }) ?? { createHTML: (html) => html };
  const poll = 15000; // ms between two readings while there is no stream
  let source, timer, paused = false, reading = false, again = false;

  const show = (text, state) => { get('live').textContent = text; get('dot').className = 'dot ' + state; };

  const replace = (html) => {
    const page = new DOMParser().parseFromString(policy.createHTML(html), 'text/html');
    document.title = page.title;
    for (const old of document.querySelectorAll('[data-live]')) {
      const fresh = page.getElementById(old.id);
      if (!fresh || fresh.isEqualNode(old)) continue;
      const from = old.querySelector('.scroll'), to = fresh.querySelector('.scroll');
      const focused = from && from === document.activeElement;
      const left = from?.scrollLeft;
      old.replaceWith(document.adoptNode(fresh));
      if (from && to) {
        to.scrollLeft = left;
        if (focused) to.focus({ preventScroll: true });
      }
    }
  };

  const read = async () => {
    if (reading) { again = true; return; }
    reading = true;
    try {
      const answer = await fetch('/', { headers: { 'X-Live': '1' }, signal: AbortSignal.timeout(10000) });
      if (!answer.ok) throw new Error(answer.status);
      const html = await answer.text();
      if (!paused) { replace(html); show('Live ·', 'live'); }
    } catch {
      if (!paused) show('No answer since', 'gone');
    }
    reading = false;
    if (again) { again = false; read(); }
  };

  const close = () => { source?.close(); source = undefined; clearInterval(timer); timer = undefined; };
  const open = () => {
    close();
    if (paused || document.hidden) return;
    source = new EventSource('/live');
    source.addEventListener('look', read);
    source.addEventListener('error', () => {
      show('No answer since', 'gone');
      if (source.readyState === EventSource.CLOSED && !timer) timer = setInterval(read, poll); // too many streams
    });
  };

  get('reload').hidden = true;
  get('pause').hidden = false;
  get('pause').addEventListener('click', () => {
    paused = !paused;
    get('pause').textContent = paused ? 'Resume' : 'Pause';
    if (paused) show('Paused at', 'still');
    open();
  });
  document.addEventListener('visibilitychange', open);
  window.addEventListener('pagehide', close);
  window.addEventListener('pageshow', (e) => { if (e.persisted) open(); });
  open();
})();
