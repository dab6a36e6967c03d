-- The load of one measured point, for wrk with one thread; started by bench/protocols/http_load.py.
--
--   wrk ... -s load.lua URL -- BODY_FILE EXPECTED_FILE KIND JSON_LENGTH EVERY [HEADER VALUE]...
--
-- KIND "floats": EXPECTED_FILE has numbers, one a line; some array in the answer must be these numbers.
-- KIND "bytes": an answer must end in the bytes of EXPECTED_FILE.
--
-- Every answer's status is checked. A body that is byte for byte like one found right before is right, which costs one
-- look-up, because Lua keeps each string once. Any other body is examined for every EVERY-th answer, so that servers
-- which put a new id into each answer are checked as well without the client taking their CPU.

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

local kind, every, expected
local accepted, accepted_count = {}, 0
requests_seen, checked, wrong, bad_status, first_wrong = 0, 0, 0, 0, ""

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

function init(arguments)
  kind, every = arguments[3], tonumber(arguments[5])
  wrk.method = "POST"
  wrk.body = read(arguments[1])
  if tonumber(arguments[4]) > 0 then
    wrk.headers["Inference-Header-Content-Length"] = arguments[4]
    wrk.headers["Content-Type"] = "application/octet-stream"
  else
    wrk.headers["Content-Type"] = "application/json"
  end
  for number = 6, #arguments, 2 do
    wrk.headers[arguments[number]] = arguments[number + 1]
  end
  local text = read(arguments[2])
  if kind == "floats" then
    expected = {}
    for number in text:gmatch("%S+") do
      table.insert(expected, tonumber(number))
    end
  else
    expected = text
  end
end

local function is_expected_array(text)
  local count = 0
  for number in text:gmatch("[^,%s]+") do
    count = count + 1
    local value, wanted = tonumber(number), expected[count]
    if not value or not wanted or math.abs(value - wanted) > 1e-5 * math.max(1, math.abs(wanted)) then
      return false
    end
  end
  return count == #expected
end

local function is_right(body)
  if kind == "bytes" then
    return body:sub(-#expected) == expected
  end
  for array in body:gmatch("%[([^%[%]{}\"]*)%]") do
    if is_expected_array(array) then
      return true
    end
  end
  return false
end

function response(status, headers, body)
  requests_seen = requests_seen + 1
  if status ~= 200 then
    bad_status = bad_status + 1
    if first_wrong == "" then
      first_wrong = status .. " " .. body:sub(1, 200)
    end
    return
  end
  if accepted[body] then
    checked = checked + 1
    return
  end
  if requests_seen % every ~= 1 and every ~= 1 then
    return
  end
  checked = checked + 1
  if not is_right(body) then
    wrong = wrong + 1
    if first_wrong == "" then
      first_wrong = body:sub(1, 200)
    end
  elseif accepted_count < 64 then
    accepted_count = accepted_count + 1
    accepted[body] = true
  end
end

-- The last line that wrk prints; http_load.py looks for the word before the first tab.
function done(summary, latency)
  local thread = threads[1]
  local errors = summary.errors
  print(table.concat({
    "POINT",
    summary.requests,
    summary.duration,
    latency:percentile(50),
    latency:percentile(95),
    latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.timeout,
    thread:get("bad_status"),
    thread:get("checked"),
    thread:get("wrong"),
    (thread:get("first_wrong"):gsub("%c", " ")),
  }, "\t"))
end
