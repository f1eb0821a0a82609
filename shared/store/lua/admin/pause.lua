-- allow-oom: an operator must be able to stop sending at once; costs some hundred bytes.
-- Pause or resume something, with a line in the audit trail, in one step.
-- KEYS pauses releases audit   ARGV verb field record by action target reason max_acts
-- 1 when that changed anything: the first pause and its reason stay
local changed
if ARGV[1] == 'pause' then
  changed = redis.call('HSETNX', KEYS[1], ARGV[2], ARGV[3])
  redis.call('HDEL', KEYS[2], ARGV[2])
else
  changed = redis.call('HDEL', KEYS[1], ARGV[2])
  redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
end
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[8], '*', 'by', ARGV[4], 'action', ARGV[5],
           'target', ARGV[6], 'reason', ARGV[7])
return changed
