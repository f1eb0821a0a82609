-- allow-oom: an operator must be able to stop sending at once; costs some hundred bytes.
-- Pause or resume something. KEYS pauses releases   ARGV verb field record
-- 1 when that changed anything: the first pause and its reason stay
local changed
if ARGV[1] == 'pause' then
  changed = redis.call('HSETNX', KEYS[1], ARGV[2], ARGV[3])
  redis.call('HDEL', KEYS[2], ARGV[2])
else
  changed = redis.call('HDEL', KEYS[1], ARGV[2])
  redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
end
return changed
