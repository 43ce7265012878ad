-- What `deno task replay` has written here, so that a replay that was stopped goes on where it was and one that was
-- finished adds nothing. name is the topic or the recording, first and last are offsets (a recording's line numbers). A
-- batch stands here once before it is written (done = false) and once after it: one without the second may have landed.
-- Reader: lib/recording/replay_messages.ts.
CREATE TABLE IF NOT EXISTS replays
(
    name String,
    partition UInt32,
    first UInt64,
    last UInt64,
    done Bool,
    at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree
ORDER BY (name, partition, first)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
