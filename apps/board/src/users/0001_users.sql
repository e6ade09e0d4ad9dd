CREATE TABLE users (
    id {{id}},
    username TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    bio TEXT NOT NULL
)
