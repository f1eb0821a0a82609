-- Return the index at which a batch names a user first; note this one if it is the first.
-- KEYS seen   ARGV number index life_ms
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 1 then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return ARGV[2]
end
return redis.call('HGET', KEYS[1], ARGV[1])
