-- One bucket of tokens on the server's own clock. What is kept is the debt: the time that the tokens taken take to come back.
--
-- KEYS[1] the bucket. ARGV: verb, then in seconds and nanoseconds: size, amount, patience; most extra; one token's time.
-- Answers {granted, extra granted, debt s, debt ns}.
--
-- A time is two whole numbers, seconds and nanoseconds below a second, for a number of Lua is a double: nanoseconds since
-- 1970 do not fit into its 53 bits. Nothing here leaves them: seconds are below 2^53 by what the gateway sends, `extra`
-- is at most a million, so that `extra * ns` is below 10^15, and what is written is written by '%.0f', not by the 14 digits
-- of tostring. So sums and comparisons are exact. Only the change of a limit, which scales the debt, rounds: up.

local N = 1000000000
local verb = ARGV[1]
local size_s, size_ns = tonumber(ARGV[2]), tonumber(ARGV[3])
local amount_s, amount_ns = tonumber(ARGV[4]), tonumber(ARGV[5])

local function add(s, ns, more_s, more_ns)
  s, ns = s + more_s, ns + more_ns
  if ns >= N then s, ns = s + 1, ns - N end
  return s, ns
end

-- Never below nothing.
local function subtract(s, ns, less_s, less_ns)
  s, ns = s - less_s, ns - less_ns
  if ns < 0 then s, ns = s - 1, ns + N end
  if s < 0 then return 0, 0 end
  return s, ns
end

local function is_more(s, ns, than_s, than_ns)
  return s > than_s or (s == than_s and ns > than_ns)
end

local clock = redis.call('TIME')
local now_s, now_us = tonumber(clock[1]), tonumber(clock[2])
local debt_s, debt_ns = 0, 0
local kept = redis.call('GET', KEYS[1])
local at_s, at_us, kept_s, kept_ns, old_s, old_ns
if kept then
  at_s, at_us, kept_s, kept_ns, old_s, old_ns = string.match(kept, '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+)$')
end
if at_s then
  debt_s, debt_ns = tonumber(kept_s), tonumber(kept_ns)
  -- A clock that was set back (or another server's, after a failover) forgives nothing and adds nothing.
  local gone_s, gone_ns = subtract(now_s, now_us * 1000, tonumber(at_s), tonumber(at_us) * 1000)
  debt_s, debt_ns = subtract(debt_s, debt_ns, gone_s, gone_ns)
  old_s, old_ns = tonumber(old_s), tonumber(old_ns)
  if (old_s ~= size_s or old_ns ~= size_ns) and (debt_s > 0 or debt_ns > 0) then
    -- The limit has changed: the bucket is as full as it was.
    local debt = (debt_s + debt_ns / N) / (old_s + old_ns / N) * (size_s + size_ns / N)
    debt_s = math.floor(debt)
    debt_ns = math.ceil((debt - debt_s) * N)
    debt_s, debt_ns = add(debt_s, 0, 0, debt_ns)
  end
end

local granted, extra, is_changed = 0, 0, false
if verb == 'take' then
  local sum_s, sum_ns = add(debt_s, debt_ns, amount_s, amount_ns)
  local most_s, most_ns = add(size_s, size_ns, tonumber(ARGV[6]), tonumber(ARGV[7]))
  if not is_more(sum_s, sum_ns, most_s, most_ns) and not is_more(amount_s, amount_ns, size_s, size_ns) then
    granted, is_changed, debt_s, debt_ns = 1, true, sum_s, sum_ns
  end
  local most = tonumber(ARGV[8])
  if granted == 1 and most > 0 then
    local one_s, one_ns = tonumber(ARGV[9]), tonumber(ARGV[10])
    local room_s, room_ns = subtract(size_s, size_ns, debt_s, debt_ns)
    -- Near enough to begin with; what counts is counted exactly below.
    extra = math.min(most, math.floor((room_s + room_ns / N) / (one_s + one_ns / N)) + 1)
    local all_s, all_ns
    repeat
      local below = extra * one_ns
      all_s, all_ns = extra * one_s + math.floor(below / N), below % N
      local fits = not is_more(all_s, all_ns, room_s, room_ns)
      if not fits then extra = extra - 1 end
    until fits
    debt_s, debt_ns = add(debt_s, debt_ns, all_s, all_ns)
  end
elseif verb == 'owe' then
  granted, is_changed = 1, true
  debt_s, debt_ns = add(debt_s, debt_ns, amount_s, amount_ns)
  -- Nobody is locked out for longer than two buckets take to fill.
  local most_s, most_ns = add(size_s, size_ns, size_s, size_ns)
  if is_more(debt_s, debt_ns, most_s, most_ns) then debt_s, debt_ns = most_s, most_ns end
elseif verb == 'give' then
  granted, is_changed = 1, at_s and true
  debt_s, debt_ns = subtract(debt_s, debt_ns, amount_s, amount_ns)
end

if is_changed then
  if debt_s == 0 and debt_ns == 0 then
    redis.call('DEL', KEYS[1])
  else
    -- A full bucket is forgotten: a millisecond after it is full.
    local lives = math.min(debt_s * 1000 + math.ceil(debt_ns / 1000000) + 1, 1000000000000)
    local text = string.format('%.0f %.0f %.0f %.0f %.0f %.0f', now_s, now_us, debt_s, debt_ns, size_s, size_ns)
    redis.call('SET', KEYS[1], text, 'PX', string.format('%.0f', lives))
  end
end
return {granted, extra, debt_s, debt_ns}
