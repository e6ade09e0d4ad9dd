CREATE TABLE posts (
    id {{id}},
    thread_id BIGINT NOT NULL,
    body TEXT NOT NULL,
    user_id BIGINT NOT NULL
)

CREATE INDEX posts_by_thread ON posts (thread_id, id)

CREATE INDEX posts_by_user ON posts (user_id, id)
