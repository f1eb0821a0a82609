-- allow-oom: erasing frees memory.
-- Erase a user from a list of a batch, so that the others keep their places; or only look.
-- KEYS list   ARGV user_id do_erase (1 or 0)      how many lines name the user
local text = redis.call('GET', KEYS[1])
if not text then return 0 end
text = '\n' .. text .. '\n'
local id, number = ARGV[1], 0
if not (string.find(text, '\n' .. id .. '\n', 1, true) or string.find(text, '\n' .. id .. '\t', 1, true))
then return 0 end
local lines = {}
for line in string.gmatch(string.sub(text, 2), '([^\n]*)\n') do
  if line == id or string.sub(line, 1, #id + 1) == id .. '\t' then line, number = '\t', number + 1 end
  lines[#lines + 1] = line
end
if ARGV[2] == '1' then redis.call('SET', KEYS[1], table.concat(lines, '\n'), 'KEEPTTL') end
return number
