-- allow-oom: it only gives back.
-- GIVE UP: one try recorded nothing; the last to say so frees the key.   KEYS place   ARGV since
if redis.call('HGET', KEYS[1], 'since') ~= ARGV[1] then return 0 end
if redis.call('HINCRBY', KEYS[1], 'tries', -1) <= 0 then redis.call('DEL', KEYS[1]) end
return 1
