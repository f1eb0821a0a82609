-- allow-oom: the password is changed already; its codes must end and the user be notified.
-- Complete a reset, because the password was changed: use up every live code, cancel what is
-- still queued, and record the notice; in one step.
-- No notice is recorded while the last one has yet to go out, and none is due within gap_ms of it.
-- KEYS u live m notice due   ARGV id hold_token tag keep_ms notice_id life_ms gap_ms then field, value …
-- {1, sequence, now_us}, also when the same hold repeats it, or {0}: the hold was lost.
-- id '' and token '': no code was used.
local id, tag = ARGV[1], ARGV[3]
if id ~= '' and redis.call('HGET', KEYS[1], 'h') ~= ARGV[2] then
  local before = redis.call('HMGET', tag .. ':r:' .. id, 'ct', 'cq', 'cu')
  if before[1] == ARGV[2] then
    redis.call('HSET', tag .. ':r:' .. id, 'v', 'used')  -- a write, so that this too can be waited for
    return {1, tonumber(before[2]), before[3]}
  end
  return {0}
end
local us = now_us()
local now = math.floor(us / 1000)
for _, other in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  local r = tag .. ':r:' .. other
  local h = redis.call('HMGET', r, 'st', 'q', 'ch', 'db', 'f')
  if h[1] then
    redis.call('HSET', r, 'v', 'used')
    if (h[1] == 'queued' or h[1] == 'retrying') and h[4] == '0' and other ~= id then
      redis.call('HSET', r, 'f', int(tonumber(h[5]) + 1))
      settle(r, tag .. ':due:' .. h[2], KEYS[3], other, h[1], 'cancelled', h[3], 'code_used', now,
             tonumber(ARGV[4]))
    end
  end
end
redis.call('DEL', KEYS[2])
redis.call('HDEL', KEYS[1], 'h', 'hx', 'w', 'pw', 'pwx')
local sequence = redis.call('HINCRBY', KEYS[1], 'seq', 1)
if id ~= '' then
  redis.call('HSET', tag .. ':r:' .. id, 'co', int(now), 'v', 'used',
             'ct', ARGV[2], 'cq', sequence, 'cu', int(us))
  redis.call('HINCRBY', KEYS[3], 'completed', 1)
  tell(tag .. ':r:' .. id, id, 'completed', now)
end
if ARGV[5] == '' then return {1, sequence, int(us)} end
local last = redis.call('HMGET', KEYS[1], 'ni', 'nt')  -- the last notice, and when it was due
local waits = redis.call('HMGET', tag .. ':r:' .. (last[1] or ''), 'st', 'at')
if waits[1] == 'queued' and waits[2] == '0' then
  redis.call('HSET', tag .. ':r:' .. last[1], 'co', int(now))  -- it tells of the last change
  return {1, sequence, int(us)}
end
local due = math.max(now, tonumber(last[2] or '0') + tonumber(ARGV[7]))
redis.call('HSET', KEYS[1], 'ni', ARGV[5], 'nt', int(due))
redis.call('HSET', KEYS[4], 'st', 'queued', 'c', int(us + (due - now) * 1000),
  'x', int(due + tonumber(ARGV[6])), 'co', int(now), 'sq', sequence, 'k', 'notice', 'q', 'urgent',
  'ch', 'email', 'mg', 0, 'f', 0, 'cl', 0, 'at', 0, 'db', 0, 'n', int(due), unpack(ARGV, 8))
redis.call('ZADD', KEYS[5], int(due), ARGV[5])
count(KEYS[3], nil, 'queued', 'email')
redis.call('HINCRBY', KEYS[3], 'in:urgent', 1)
return {1, sequence, int(us)}
