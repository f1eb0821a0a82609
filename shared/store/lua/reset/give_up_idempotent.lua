-- allow-oom: only subtracts.
-- Give up a try that recorded nothing; the last one frees the key.   KEYS idem   ARGV since
if redis.call('HGET', KEYS[1], 'since') ~= ARGV[1] then return 0 end
if redis.call('HINCRBY', KEYS[1], 'tries', -1) <= 0 then redis.call('DEL', KEYS[1]) end
return 1
