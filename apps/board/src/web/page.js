
'use strict';
(() => {
  const $ = (id) => document.getElementById(id);
  const PAGE = 50;
  const users = new Map();
  let current = null;   // the thread that is open
  let nextThreads = null;
  let nextPosts = null;
  let shown = 0;        // posts of the open thread on the page

  // Text from the board only ever becomes text nodes.
  const make = (tag, className, text) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };

  const say = (text, bad) => {
    $('status').textContent = text;
    $('status').classList.toggle('bad', Boolean(bad));
  };

  const key = () => Array.from(crypto.getRandomValues(new Uint8Array(16)),
    (byte) => byte.toString(16).padStart(2, '0')).join('');

  const call = async (path, options) => {
    let response;
    try {
      response = await fetch(path, options);
    } catch {
      throw new Error('The board does not answer. Try again in a moment.');
    }
    let body = null;
    try { body = await response.json(); } catch { /* a balancer's answer is no JSON */ }
    if (!response.ok) {
      const fields = ((body && body.errors) || []).map((e) => e.pointer.slice(1) + ' ' + e.detail);
      throw new Error(fields.join('; ') || (body && body.detail) ||
        'The board answered ' + response.status + '. Try again in a moment.');
    }
    return { body, next: nextPage(response.headers.get('Link')) };
  };

  // A page's Link header names the next one; only an address of this origin's API is followed.
  const nextPage = (link) => {
    const match = /^<(\/api\/[^>]*)>; rel="next"$/.exec(link || '');
    return match ? match[1] : null;
  };

  const write = (path, record, idempotencyKey) => call(path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'Idempotency-Key': idempotencyKey },
    body: JSON.stringify(record),
  });

  const person = (id) => users.get(id) || { name: 'User ' + id, username: '' };

  const loadUsers = async () => {
    let path = '/api/users?limit=200';
    while (path) {
      const { body, next } = await call(path);
      for (const user of body) users.set(user.id, user);
      path = next;
    }
    for (const select of [$('post-user'), $('thread-user')]) {
      const first = make('option', '', 'Choose a person');
      first.value = '';
      select.replaceChildren(first);
      for (const user of users.values()) {
        const option = make('option', '', user.name + ' (' + user.username + ')');
        option.value = String(user.id);
        select.append(option);
      }
    }
  };

  const showThreads = async (path) => {
    const { body, next } = await call(path);
    for (const thread of body) addThread(thread);
    nextThreads = next;
    $('more-threads').hidden = !next;
    return body;
  };

  const addThread = (thread) => {
    if (document.querySelector('[data-thread="' + Number(thread.id) + '"]')) return;
    const button = make('button', '', thread.title);
    button.type = 'button';
    button.dataset.thread = String(thread.id);
    button.addEventListener('click', () => open(thread, true));
    const item = make('li');
    item.append(button);
    $('threads').append(item);
  };

  const addPost = (post) => {
    shown += 1;
    const item = make('li', shown > 1 ? 'reply' : '');
    item.dataset.post = String(post.id);
    const writer = person(post.user);
    const who = make('div', 'who', writer.name);
    if (writer.username) who.append(make('span', 'handle', '@' + writer.username));
    item.append(who, make('p', 'text', post.text));
    $('post-list').append(item);
    return item;
  };

  const showPosts = async (thread, path) => {
    const { body, next } = await call(path);
    if (current !== thread) return;
    for (const post of body) addPost(post);
    nextPosts = next;
    $('more-posts').hidden = !next;
  };

  const open = async (thread, focus) => {
    current = thread;
    shown = 0;
    nextPosts = null;
    for (const button of document.querySelectorAll('[data-thread]')) {
      button.setAttribute('aria-current', String(button.dataset.thread === String(thread.id)));
    }
    $('thread-heading').textContent = thread.title;
    $('thread-by').textContent = 'Opened by ' + person(thread.createdBy).name;
    $('post-list').replaceChildren();
    $('more-posts').hidden = true;
    $('post-form').hidden = false;
    history.replaceState(null, '', '#thread-' + thread.id);
    if (focus) $('posts').focus();
    await attempt(async () => {
      await showPosts(thread, '/api/posts/in-thread/' + thread.id + '?limit=' + PAGE);
      say('');
    });
  };

  const attempt = async (work) => {
    try {
      await work();
      return true;
    } catch (error) {
      say(error.message, true);
      return false;
    }
  };

  // One key per text: pressing the button again after a lost answer writes nothing twice.
  const sender = (form, work) => {
    let last = { text: '', key: '' };
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      const missing = Array.from(form.elements).find((e) => e.required && !e.value.trim());
      if (missing) {
        say(form.querySelector('label[for="' + missing.id + '"]').textContent + ' is missing.', true);
        missing.focus();
        return;
      }
      const button = form.querySelector('button[type="submit"]');
      if (button.disabled) return;
      button.disabled = true;
      await attempt(() => work((record) => {
        const text = JSON.stringify(record);
        if (last.text !== text) last = { text, key: key() };
        return last.key;
      }));
      button.disabled = false;
    });
    return () => { last = { text: '', key: '' }; };
  };

  const forgetPost = sender($('post-form'), async (keyFor) => {
    const thread = current;
    const record = { thread: thread.id, text: $('post-text').value, user: Number($('post-user').value) };
    const { body } = await write('/api/posts', record, keyFor(record));
    forgetPost();
    $('post-text').value = '';
    if (current === thread) {
      while (nextPosts && current === thread) await showPosts(thread, nextPosts);
      if (!document.querySelector('[data-post="' + Number(body.id) + '"]')) addPost(body);
    }
    say('Posted.');
    $('post-text').focus();
    // The new post pushed the form down; the next reply is written where one can see it.
    $('post-text').scrollIntoView({ block: 'nearest' });
  });

  const forgetThread = sender($('thread-form'), async (keyFor) => {
    const record = { title: $('thread-title').value.trim(), createdBy: Number($('thread-user').value) };
    const { body } = await write('/api/threads', record, keyFor(record));
    forgetThread();
    $('thread-title').value = '';
    $('new-thread').open = false;
    addThread(body);
    await open(body, false);
    say('Thread opened. Write its first post.');
    $('post-text').focus();
  });

  $('post-text').addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) $('post-form').requestSubmit();
  });
  $('more-threads').addEventListener('click', () => attempt(() => showThreads(nextThreads)));
  $('more-posts').addEventListener('click', () => attempt(() => showPosts(current, nextPosts)));

  const start = async () => {
    say('Loading…');
    // Threads and posts are shown even while users do not answer.
    const knowsUsers = await attempt(loadUsers);
    await attempt(async () => {
      const threads = await showThreads('/api/threads?limit=' + PAGE);
      const wanted = /^#thread-(\d+)$/.exec(location.hash);
      const thread = threads.find((t) => wanted && String(t.id) === wanted[1]) || threads[0];
      if (thread) await open(thread, false);
      else say('There are no threads yet. Open one.');
    });
    if (!knowsUsers) say('The users do not answer at the moment; names are missing.', true);
  };
  start();
})();
