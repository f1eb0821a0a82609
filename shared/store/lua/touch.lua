-- allow-oom: one key a shard.
-- Write for the sake of writing: once this is confirmed, all earlier writes are.
-- KEYS confirmed
redis.call('SET', KEYS[1], 1)
return 1
