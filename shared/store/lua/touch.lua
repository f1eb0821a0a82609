-- allow-oom: one key a shard.
-- Write for the sake of writing: once this is confirmed, all earlier writes are.
-- KEYS confirmed [r]   0 if r is not here, else 1
redis.call('SET', KEYS[1], 1)
return KEYS[2] and redis.call('EXISTS', KEYS[2]) or 1
