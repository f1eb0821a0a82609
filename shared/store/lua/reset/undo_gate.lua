-- allow-oom: only subtracts.
-- Subtract what the gate counted, because nothing was recorded; once for calls that counted once.
-- KEYS counted window… and of an SMS: mark subject…
-- ARGV is_repeatable windows reset_id then the amount of each window
if ARGV[1] == '1' and redis.call('DEL', KEYS[1]) == 0 then return 0 end
local last = 1 + tonumber(ARGV[2])
for i = 2, last do
  local amount = tonumber(ARGV[i + 2])
  if tonumber(redis.call('GET', KEYS[i]) or '0') >= amount then redis.call('DECRBY', KEYS[i], amount) end
end
local mark = last < #KEYS and redis.call('GET', KEYS[last + 1])
local reset_id, bucket = string.match(mark or '', '^(%S+) (%d+)')
if reset_id == ARGV[3] then
  redis.call('DEL', KEYS[last + 1])
  for i = last + 2, #KEYS do redis.call('HINCRBY', KEYS[i], 's' .. bucket, -1) end
end
return 1
