-- Create a batch, with a line in the audit trail; repeating the same call changes nothing.
-- KEYS batch active audit   ARGV id mark by action reason life_ms max_acts then field, value …
-- 'begun', 'known', or 'other': the id belongs to another batch
local mark = redis.call('HGET', KEYS[1], 'mk')
if mark then return mark == ARGV[2] and 'known' or 'other' end
local now = int(math.floor(now_us() / 1000))
redis.call('HSET', KEYS[1], 'mk', ARGV[2], 'by', ARGV[3], 'rs', ARGV[5], 'lf', ARGV[6], 'c', now,
           'cu', 0, 'co', 0, 'fe', 0, 'lu', 0, 'q', 0, unpack(ARGV, 8))
if redis.call('HGET', KEYS[1], 'st') == 'running' then redis.call('HSET', KEYS[1], 's', now) end
redis.call('PEXPIRE', KEYS[1], ARGV[6])
redis.call('SADD', KEYS[2], ARGV[1])
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[7], '*', 'by', ARGV[3], 'action', ARGV[4],
           'target', ARGV[1], 'reason', ARGV[5])
return 'begun'
