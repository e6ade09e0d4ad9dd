#!/usr/bin/env python3
"""A small shop's forum over PostgreSQL, which knows nothing of cuts: users, posts and their comments.

The same program is the monolith and, over a database of its own, the posts service. PORT and DATABASE_URL come from
the environment. Nothing in it is made for the platform in front of it: no epochs, no idempotency keys, no fence.
"""

import json
import os
import queue
import re
import sys
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg2
from psycopg2.extras import RealDictCursor

POOL = queue.LifoQueue()

ROUTES = [
    ("GET", r"/users/(\d+)", "SELECT id, name FROM users WHERE id = %s", 200),
    ("POST", r"/users", "INSERT INTO users (name) VALUES (%(name)s) RETURNING id, name", 201),
    ("GET", r"/posts", "SELECT id, author, title FROM posts ORDER BY id", 200),
    ("GET", r"/posts/(\d+)", "SELECT id, author, title, body, changes FROM posts WHERE id = %s", 200),
    ("POST", r"/posts", "INSERT INTO posts (author, title, body) VALUES (%(author)s, %(title)s, %(body)s)"
                        " RETURNING id, title", 201),
    ("PUT", r"/posts/(\d+)", "UPDATE posts SET body = %(body)s, changes = changes + 1 WHERE id = %(id)s"
                             " RETURNING id, changes", 200),
    ("DELETE", r"/posts/(\d+)", "DELETE FROM posts WHERE id = %(id)s RETURNING id", 200),
    ("GET", r"/posts/(\d+)/comments", "SELECT id, text FROM comments WHERE post = %s ORDER BY id", 200),
    ("GET", r"/posts/\d+/comments/(\d+)", "SELECT id, text FROM comments WHERE id = %s", 200),
    ("POST", r"/posts/(\d+)/comments", "INSERT INTO comments (post, text) VALUES (%(id)s, %(text)s)"
                                       " RETURNING id, text", 201),
]


@contextmanager
def cursor():
    """A transaction on a pooled connection; a broken one is thrown away."""
    try:
        connection = POOL.get_nowait()
    except queue.Empty:
        connection = psycopg2.connect(os.environ["DATABASE_URL"], application_name="forum")
    try:
        with connection, connection.cursor(cursor_factory=RealDictCursor) as one:
            yield one
    except psycopg2.Error:
        connection.close()
        raise
    POOL.put(connection)


class Forum(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body leave together.
    wbufsize = -1
    disable_nagle_algorithm = True

    def answer(self, status, value, location=None):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def serve(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.split("?")[0]
        if path == "/health":
            return self.answer(200, {})
        for method, pattern, sql, status in ROUTES:
            found = re.fullmatch(pattern, path)
            if method != self.command or not found:
                continue
            given = found.groups()
            if method != "GET":
                given = json.loads(body or b"{}")
                if found.groups():
                    given["id"] = int(found.group(1))
            try:
                with cursor() as one:
                    one.execute(sql, given)
                    rows = one.fetchall()
            except psycopg2.Error as error:
                return self.answer(500, {"error": str(error).strip(), "sqlstate": error.pgcode})
            if method == "GET" and not found.groups() or path.endswith("/comments") and method == "GET":
                return self.answer(status, rows)
            if not rows:
                return self.answer(404, {"error": "no such thing"})
            location = f"{path}/{rows[0]['id']}" if status == 201 else None
            return self.answer(status, rows[0], location)
        return self.answer(404, {"error": "no such path"})

    do_GET = do_POST = do_PUT = do_DELETE = serve

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    server = Server(("127.0.0.1", int(os.environ.get("PORT", "0"))), Forum)
    print(server.server_address[1], flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        sys.exit(0)
