CREATE TABLE threads (
    id {{id}},
    title TEXT NOT NULL,
    created_by BIGINT NOT NULL
)

CREATE INDEX threads_by_creator ON threads (created_by, id)
