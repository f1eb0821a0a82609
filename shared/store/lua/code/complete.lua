-- allow-oom: the password is changed already; its codes must end and the user be notified.
-- Complete a reset, because the password was changed: use up every live code, cancel what is
-- still queued, and record the notice; in one step.
-- No notice is recorded for an address while the last one to it has yet to go out, and none is due
-- within gap_ms of it.
-- KEYS u m due older notice …
-- ARGV id hold_token tag keep_ms event_id user org life_ms gap_ms notices, then notice_id, digest,
--      channel … and field, value …
--      (a notice to each address, present and former, named by its digest; none: no notices)
-- {1, sequence, now_us, notice_id …}: the notices that were recorded; {1, sequence, now_us} also when
-- the same hold repeats it; or {0}: the hold was lost.
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
for _, other in ipairs(live_resets(KEYS[1], tag, now)) do
  local r = tag .. ':r:' .. other
  local h = redis.call('HMGET', r, 'st', 'q', 'ch', 'db', 'f')
  redis.call('HSET', r, 'v', 'used')
  if (h[1] == 'queued' or h[1] == 'retrying') and h[4] == '0' and other ~= id then
    redis.call('HSET', r, 'f', int(tonumber(h[5]) + 1))
    settle(r, tag .. ':due:' .. h[2], KEYS[2], other, h[1], 'cancelled', h[3], 'code_used', now,
           tonumber(ARGV[4]))
  end
end
redis.call('HDEL', KEYS[1], 'h', 'hx', 'w', 'pw', 'pwx')
local sequence = redis.call('HINCRBY', KEYS[1], 'seq', 1)
if id ~= '' then
  redis.call('HSET', tag .. ':r:' .. id, 'co', int(now), 'v', 'used',
             'ct', ARGV[2], 'cq', sequence, 'cu', int(us))
  redis.call('HINCRBY', KEYS[2], 'completed', 1)
  tell(tag .. ':r:' .. id, id, 'completed', now)
  tell(tag .. ':r:' .. id, id, 'password.changed', now)
elseif ARGV[7] then
  tell_of(tag, string.sub(KEYS[1], #tag + 4), ARGV[7], ARGV[5], 'password.changed', now,
          cjson.encode({int(now), ARGV[6], ARGV[7], '', '', ''}))
end
local notices, answer = tonumber(ARGV[10] or '0'), {1, sequence, int(us)}
if notices == 0 then return answer end
local life, gap = tonumber(ARGV[8]), tonumber(ARGV[9])
local last = cjson.decode(redis.call('HGET', KEYS[1], 'nn') or '{}')  -- by digest: id, when it was due
for digest, notice in pairs(last) do
  if notice[2] + gap <= now then last[digest] = nil end
end
for i = 1, notices do
  local notice_id, digest, channel = ARGV[8 + 3 * i], ARGV[9 + 3 * i], ARGV[10 + 3 * i]
  local before, key = last[digest], KEYS[4 + i]
  local waits = before and redis.call('HMGET', tag .. ':r:' .. before[1], 'st', 'at') or {}
  if waits[1] == 'queued' and waits[2] == '0' then
    redis.call('HSET', tag .. ':r:' .. before[1], 'co', int(now))  -- it tells of the last change
  else
    local due = before and math.max(now, before[2] + gap) or now
    last[digest] = {notice_id, due}
    redis.call('HSET', key, 'st', 'queued', 'c', int(us + (due - now) * 1000),
      'x', int(due + life), 'co', int(now), 'sq', sequence, 'k', 'notice', 'q', 'urgent',
      'ch', channel, 'mg', 0, 'f', 0, 'cl', 0, 'at', 0, 'db', 0, 'n', int(due),
      unpack(ARGV, 11 + 3 * notices))
    if digest ~= '' then redis.call('HSET', key, 'nt', digest) end
    redis.call('ZADD', KEYS[3], int(due), notice_id)
    note_older(KEYS[4], tag, notice_id, now, gap + life + tonumber(ARGV[4]))
    count(KEYS[2], nil, 'queued', channel)
    redis.call('HINCRBY', KEYS[2], 'in:urgent', 1)
    answer[#answer + 1] = notice_id
  end
end
redis.call('HSET', KEYS[1], 'nn', cjson.encode(last))
return answer
