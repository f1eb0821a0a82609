-- allow-oom: an outcome that is not stored is doubt, and doubt causes a second message.
-- Finish a claim: store its outcome. A stale fence changes nothing; repeating changes nothing.
-- A callback may have settled the reset during the call: then only the attempt is stored.
-- KEYS r u due m
-- ARGV id fence delay_ms status reason keep_ms outcome provider_message_id detail duration_ms
--      provider bucket bound_ms… (outcome '' when no attempt was made)
local id, status, reason = ARGV[1], ARGV[4], ARGV[5]
local h = redis.call('HMGET', KEYS[1], 'f', 'ff', 'st', 'ch', 'x', 'mg', 'at', 'db', 'su')
if h[2] == ARGV[2] then return 1 end
if h[1] ~= ARGV[2] or (FINAL[h[3]] and ARGV[7] == '') then return 0 end
local now = math.floor(now_us() / 1000)
if h[9] and (status == 'retrying' or status == 'queued') then
  status, reason = 'cancelled', 'superseded'  -- a newer one came during the call
end
local fields = {'ff', ARGV[2]}

if ARGV[7] ~= '' then
  local a = cjson.decode(redis.call('HGET', KEYS[1], 'a' .. h[7]))
  if ARGV[7] == 'accepted' or a[4] ~= 'found' then  -- what a callback said stands against a doubt
    fields[3] = 'a' .. h[7]
    fields[4] = cjson.encode({a[1], a[2], int(now), ARGV[7], ARGV[8], ARGV[9]})
  end
  local name = 'p:' .. label(ARGV[11]) .. ':' .. ARGV[7] .. ':'
  add(KEYS[4], name .. 'n', 1)
  add(KEYS[4], name .. 'ms', tonumber(ARGV[10]))
  add(KEYS[4], name .. 'b' .. ARGV[12], 1)
end
if FINAL[h[3]] then
  redis.call('HSET', KEYS[1], unpack(fields))
  return 1
end

if FINAL[status] then
  if status == 'accepted' then
    local r = redis.call('HMGET', KEYS[1], 'c', 'q')
    took(KEYS[4], 's:' .. h[4] .. ':' .. r[2] .. ':', now - math.floor(tonumber(r[1]) / 1000),
         ARGV, 13)
  end
  settle(KEYS[1], KEYS[3], KEYS[4], id, h[3], status, h[4], reason, now, tonumber(ARGV[6]),
         fields)
  if status ~= 'accepted' then give_back(KEYS[2], KEYS[1], id, tonumber(h[8])) end
  if status == 'cancelled' and reason ~= 'superseded' then  -- also what an earlier copy holds
    redis.call('HSETNX', KEYS[1], 'v', 'replaced')
  end
  return 1
end

local deadline, at = tonumber(h[5]), now + tonumber(ARGV[3])
if ARGV[7] == 'doubt' then redis.call('HINCRBY', KEYS[1], 'db', 1) end
if status == 'unknown' then
  at = math.min(at, deadline)
elseif at > deadline - tonumber(h[6]) then
  at = deadline  -- no attempt fits any more; expired is what it becomes then
end
redis.call('HSET', KEYS[1], 'st', status, 'rs', reason, 'cl', 0, 'n', int(at), unpack(fields))
redis.call('ZADD', KEYS[3], int(at), id)
count(KEYS[4], h[3], status, h[4])
return 1
