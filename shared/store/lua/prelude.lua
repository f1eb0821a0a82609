-- Prepended to every script: the clock, and the one way a reset changes its status.
local FINAL = {accepted = true, delivered = true, undelivered = true, failed = true,
               suppressed = true, expired = true, cancelled = true}

local function now_us()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000000 + tonumber(t[2])
end

local function int(n) return string.format('%.0f', n) end

-- Return the fence of a new claim. A failover may forget claims, and the next one must not have the
-- fence of a forgotten one, which could end it: fences count by ten thousands, the rest is of the clock.
local function next_fence(before, us)
  return int((math.floor(tonumber(before or 0) / 10000) + 1) * 10000 + us % 10000)
end

-- What counters call a provider: the own ones of all organisations are one.
local function label(provider)
  return string.sub(provider, 1, 4) == 'org:' and 'org' or provider
end

-- Add to a shard's counters. Where one script makes many calls, each sum is written once, at the end.
local sums
local lasting = {}  -- key -> for how long it is kept, once its sums are written
local function add(m, field, n)
  if not sums then return redis.call('HINCRBY', m, field, int(n)) end
  sums[m] = sums[m] or {}
  sums[m][field] = (sums[m][field] or 0) + n
end

local function add_up()
  for m, fields in pairs(sums) do  -- one write each, for each is an entry of the append-only file
    local names, pairs_of = {}, {}
    for field in pairs(fields) do names[#names + 1] = field end
    local known = redis.call('HMGET', m, unpack(names))
    for i, field in ipairs(names) do
      pairs_of[2 * i - 1], pairs_of[2 * i] = field, int(tonumber(known[i] or 0) + fields[field])
    end
    if #names > 0 then redis.call('HSET', m, unpack(pairs_of)) end
  end
  for key, ms in pairs(lasting) do
    redis.call('PEXPIRE', key, int(math.max(ms, redis.call('PTTL', key))))
  end
end

local function count(m, from, to, channel)
  if from == to then return end
  if from and not FINAL[from] then add(m, 'now:' .. from, -1) end
  if not FINAL[to] then add(m, 'now:' .. to, 1) end
  add(m, 'to:' .. channel .. ':' .. to, 1)
end

-- Add a time to a histogram; its upper bounds begin at bounds[first]. The caller passes its ARGV:
-- where one script makes many calls, each has its own.
local function took(m, name, ms, bounds, first)
  ms = math.max(0, ms)
  local bucket = 'inf'
  for i = #bounds, first, -1 do
    if ms <= tonumber(bounds[i]) then bucket = bounds[i] end
  end
  add(m, name .. 'b' .. bucket, 1)
  add(m, name .. 'ms', ms)
end

-- Count a call toward the windows names[first] to names[last], each with name, limit, window_ms and
-- amount in the caller's ARGV from values[at] on; count nothing and return
-- {'limited', name, wait_ms} if one is full. What is dearer than a whole window waits for the next.
local function count_call(names, first, last, values, at)
  for i = first, last do
    local a = at + (i - first) * 4
    local counted = tonumber(redis.call('GET', names[i]) or '0')
    if counted + tonumber(values[a + 3]) > tonumber(values[a + 1]) then
      local wait = counted > 0 and redis.call('PTTL', names[i]) or values[a + 2]
      return {'limited', values[a], int(wait)}
    end
  end
  for i = first, last do
    local a = at + (i - first) * 4
    if redis.call('INCRBY', names[i], values[a + 3]) == tonumber(values[a + 3]) then
      redis.call('PEXPIRE', names[i], values[a + 2])
    end
  end
end

-- Keep a key at least so long from now; never shorten its lifetime.
local function keep_for(key, ms)
  redis.call('PEXPIRE', key, int(math.max(ms, redis.call('PTTL', key))))
end

-- Count how a reset of a batch ended; a later report moves it to another count.
-- Call it before the record's own reason changes.
local function count_batch(r, from, to, reason, keep_ms)
  local h = redis.call('HMGET', r, 'b', 'rs')
  if not h[1] then return end
  local ends = string.match(r, '^[^}]*}') .. ':b:' .. h[1]
  if from and FINAL[from] then redis.call('HINCRBY', ends, from .. ':' .. (h[2] or ''), -1) end
  add(ends, to .. ':' .. reason, 1)
  local ms = keep_ms + 604800000
  if sums then lasting[ends] = ms else keep_for(ends, ms) end
end

-- Return what an organisation has subscribed to, and how long webhooks are kept, in ms.
local MAX_WEBHOOKS, WEBHOOK_MS = 5000, 1209600000
local function subscribed(tag, org)
  local found = redis.call('HMGET', tag .. ':subscribed', org, ' ms')
  return found[1], tonumber(found[2] or WEBHOOK_MS)
end

-- Create the webhooks of an event, in the same step. A subscription with too large a backlog loses
-- the newest: resets need the memory more.
local function tell_of(tag, user, org, id, word, now, payload)
  local subscriptions, keep_ms = subscribed(tag, org)
  if not subscriptions then return end
  for sub, words in string.gmatch(subscriptions, '([^= ]+)=([^ ]*)') do
    local webhook, due = tag .. ':wh:' .. sub .. ':' .. id .. ':' .. word, tag .. ':whd:' .. sub
    if string.find(',' .. words .. ',', ',' .. word .. ',', 1, true)
        and redis.call('EXISTS', webhook) == 0 then
      if redis.call('ZCARD', due) >= MAX_WEBHOOKS then
        redis.call('HINCRBY', tag .. ':m', 'w:dropped', 1)
      else
        redis.call('HSET', webhook, 'd', payload, 'n', 0, 'f', 0)
        redis.call('PEXPIRE', webhook, int(keep_ms))
        redis.call('ZADD', due, int(now), id .. ':' .. word)
        redis.call('PEXPIRE', due, int(keep_ms))
        if user then  -- so that they can be erased with the user
          local told = tag .. ':told:' .. user
          redis.call('ZREMRANGEBYSCORE', told, '-inf', int(now - 2 * keep_ms))
          redis.call('ZADD', told, int(now), sub .. ':' .. id .. ':' .. word)
          redis.call('PEXPIRE', told, int(2 * keep_ms))  -- a dead one is kept anew
        end
      end
    end
  end
end

local function tell(r, id, word, now)
  local tag = string.sub(r, 1, 7)
  if redis.call('EXISTS', tag .. ':subscribed') == 0 then return end
  local h = redis.call('HMGET', r, 'k', 'o', 'u', 'ch', 'st', 'rs', 'ud')
  local is_change = word == 'completed' or word == 'password.changed'
  if not h[1] or h[1] == 'notice' or (h[1] == 'returned' and not is_change) then return end
  local payload = cjson.encode({int(now), h[3], h[2], h[4], h[5], h[6] or ''})
  tell_of(tag, h[7], h[2], id, word, now, payload)
end

-- End a reset: remove it from the due set, and let its record expire, without what only claims and
-- attempts look at. `also` holds fields and values that are stored with the end.
local function settle(r, due, m, id, from, to, channel, reason, now, keep_ms, also)
  count_batch(r, from, to, reason, keep_ms)
  redis.call('HSET', r, 'st', to, 'rs', reason, 'dn', int(now), unpack(also or {}))
  redis.call('HDEL', r, 'n', 'mg', 'cl', 'sf', reason == '' and 'rs' or 'n')
  redis.call('ZREM', due, id)
  local h = redis.call('HMGET', r, 'x', 'kp')
  redis.call('PEXPIREAT', r, int(math.max(tonumber(h[1]), now) + tonumber(h[2] or keep_ms)))
  count(m, from, to, channel)
  if from and not FINAL[from] then
    add(m, 'out:' .. string.match(due, '[^:]+$'), 1)
  end
  tell(r, id, to, now)
end

-- Add an event to the reset's timeline; `kind` is a DeliveryEvent's type.
local MAX_EVENTS = 50
local function add_event(r, at, kind, provider, detail)
  local number = redis.call('HINCRBY', r, 'en', 1)
  if number > MAX_EVENTS then return redis.call('HSET', r, 'en', MAX_EVENTS) end
  redis.call('HSET', r, 'e' .. number, cjson.encode({int(at), kind, provider or '', detail or ''}))
end

-- Undo a reset that was not sent: end the cool-down, and the code unless it may have been received.
local function give_back(u, r, id, doubts)
  if redis.call('HGET', u, 'cdid') == id then redis.call('HDEL', u, 'cd', 'cdid') end
  if doubts == 0 then redis.call('HSET', r, 'gb', 1) end
end

-- Return the ids of a user's last resets, newest first: those fields of the user that are as long
-- as an id (keys.py), each with its sequence. Some records may have expired.
local function last_resets(u)
  local ids, sequence, h = {}, {}, redis.call('HGETALL', u)
  for i = 1, #h, 2 do
    if #h[i] == 27 then ids[#ids + 1], sequence[h[i]] = h[i], tonumber(h[i + 1]) end
  end
  table.sort(ids, function(a, b) return sequence[a] > sequence[b] end)
  return ids
end

-- Return whether a reset's code works: before its deadline, and neither ended nor given back; nil: no record.
local function works(r, now)
  local h = redis.call('HMGET', r, 'x', 'v', 'gb')
  if h[1] then return tonumber(h[1]) > now and not h[2] and not h[3] end
end

-- Return those of a user's last resets whose codes work, newest first.
local function live_resets(u, tag, now)
  local ids = {}
  for _, id in ipairs(last_resets(u)) do
    if works(tag .. ':r:' .. id, now) then ids[#ids + 1] = id end
  end
  return ids
end

-- Index resets by time: a list for every ten minutes, which lasts as long as its records.
local function note_made(tag, id, now, life, keep_ms)
  local made = tag .. ':made:' .. int(math.floor(now / 600000))
  redis.call('RPUSH', made, id)
  keep_for(made, math.max(life, 86400000) + keep_ms + 600000)
end

-- Remember a record of a user that `last_resets` does not list, for as long as it is kept.
local function note_older(older, tag, id, at, keep_ms)
  for _, other in ipairs(redis.call('ZRANGE', older, 0, 1)) do
    if redis.call('EXISTS', tag .. ':r:' .. other) == 0 then redis.call('ZREM', older, other) end
  end
  redis.call('ZADD', older, int(at), id)
  keep_for(older, keep_ms)
end

-- Set the next due time (ms); the deadline at the latest.
local function look_again(r, due, id, at)
  redis.call('HSET', r, 'n', int(at))
  redis.call('ZADD', due, int(at), id)
end

-- Return id, key_id, deadline_ms, end, language, channel, is_live, basis, wrong tries of a user's last
-- codes, newest first.
local function known_codes(u, tag, now)
  local answer = {}
  for _, id in ipairs(last_resets(u)) do
    local name = tag .. ':r:' .. id
    local r = redis.call('HMGET', name, 'kid', 'x', 'v', 'lg', 'ch', 'bs', 'gw')
    if r[1] then
      for _, value in ipairs({id, r[1], r[2], r[3] or '', r[4], r[5], works(name, now) and 1 or 0,
                              r[6] or '', r[7] or 0}) do
        answer[#answer + 1] = value
      end
    end
  end
  return answer
end

-- Return why a batch skips a user: completed since (ms), or a newer live reset; or ''.
local function in_the_way(u, tag, id, channel, since, now)
  local answer = ''
  for _, other in ipairs(last_resets(u)) do
    local h = redis.call('HMGET', tag .. ':r:' .. other, 'st', 'x', 'v', 'ch', 'c', 'co')
    if other ~= id and h[1] then
      if h[6] and tonumber(h[6]) > since then return 'completed' end
      local st, is_newer = h[1], math.floor(tonumber(h[5]) / 1000) > since
      local waits = st == 'queued' or st == 'sending' or st == 'retrying'
      local reaches = (st == 'accepted' or st == 'delivered' or st == 'unknown') and not h[3]
                      and tonumber(h[2]) > now
      if (waits and (is_newer or h[4] == channel)) or (reaches and is_newer) then
        answer = 'newer_reset'
      end
    end
  end
  return answer
end

-- Return how often a source tried typed codes of a user in its window, and when that ends; 0, 0: not.
local function guesses_of(guesses, field, now)
  local text = redis.call('HGET', guesses, field)
  local entry = text and cjson.decode(text)
  if not entry or tonumber(entry[2]) <= now then return 0, 0 end
  return entry[1], tonumber(entry[2]), entry
end
