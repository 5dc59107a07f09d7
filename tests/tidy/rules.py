"""What tidy enforces, as data. The code that reads it is in tidy.py and compilers.py."""

# The floors, lowest first. A file includes its own floor and lower ones; folders on one line are
# siblings and never include each other.
FLOORS = [
    ["base"],
    ["io"],
    ["format", "codec"],
    ["meta"],
    ["image"],
    ["snapshot"],
    ["maintenance", "service"],
    ["capi"],
    ["service_capi"],
]

# Folders beside lib/ and whether they may reach into it. tools/ uses the public headers only.
MAY_USE_LIB = {"tests": True, "bench": True, "fuzz": True, "tools": False}

# Third-party headers lib/ may include, and the floor that may. One file each includes them.
LIB_THIRD_PARTY = {
    "liburing.h": "io",
    "zlib.h": "codec",
    "zstd.h": "codec",
    "zstd_errors.h": "codec",
    "xxhash.h": "base",
    "pugixml.hpp": "service",
}

# Standard C++ headers carry no dot; these are the C ones of the system.
SYSTEM_HEADER = (r"(sys|linux|arpa|netinet|asm)/[\w/.-]+\.h|"
                 r"(dirent|dlfcn|endian|errno|fcntl|getopt|grp|limits|poll|pthread|pwd|sched|"
                 r"signal|stdlib|string|stdio|stdint|stddef|stdbool|termios|time|unistd|malloc|"
                 r"uuid)\.h")

MAX_COLUMNS = 100
MAX_FUNCTION_LINES = 70

# (name, pattern in code without comments and strings, folders, files exempt, what to use instead)
EVERYWHERE = ("include/", "lib/", "tools/", "tests/", "bench/", "fuzz/")
BANNED = [
    ("raw-memory", r"\b(memcpy|memset|memmove|memcmp)\s*\(", EVERYWHERE,
     ("lib/base/bytes.h", "lib/base/endian.h"),
     "use copy_bytes, zero_bytes, equal_bytes, load or store of base/bytes.h, "
     "or std::ranges::copy outside lib/"),
    ("reinterpret-cast", r"\breinterpret_cast\b", EVERYWHERE, (),
     "use load and store of base/bytes.h, std::as_bytes, or static_cast from void*"),
    ("raw-new", r"(?<!operator )(?<!<)\bnew\b|\bdelete\b(?=\s*(\[\s*\]\s*)?[\w(*])", EVERYWHERE,
     (), "use std::make_unique, std::construct_at, a container or Buffer"),
    ("shared-ptr", r"\bstd::(shared_ptr|make_shared)\b", EVERYWHERE, (),
     "give the object one owner: std::unique_ptr, and a reference or pointer for the others"),
    ("plain-assert", r"(?<![\w.])assert\s*\(|[<\"](cassert|assert\.h)[>\"]", EVERYWHERE, (),
     "use VARVE_ASSERT, which stays on in release builds"),
    ("unsafe-c",
     r"\b(strcpy|strcat|sprintf|vsprintf|gets|strtok|atoi|atol|atoll|tmpnam|mktemp)\s*\(",
     EVERYWHERE, (), "use std::string, std::format_to_n or snprintf, std::from_chars, mkstemp"),
    ("unseeded-random", r"\b(s?rand\s*\(|random_device\b)", ("include/", "lib/", "tests/", "fuzz/"),
     (), "use std::mt19937_64 with a seed the test prints and accepts"),
    ("sleep-in-test", r"\b(sleep_for|sleep_until|usleep|nanosleep|sleep)\s*\(", ("tests/",), (),
     "wait for the event itself; a test that sleeps is slow or flaky"),
]

# Words that mean unfinished work. Spelled apart so that this file passes its own rule.
UNFINISHED = r"\b(FIX" r"ME|TO" r"DO|XX" r"X)\b"

# A file or folder of the project, named in a page.
NAMED_PATH = r"`((?:include|lib|tools|tests|bench|fuzz|docs|cmake)/[^`\s]*)[^`]*`"

# Absolute paths of one machine have no place in the project's pages and scripts.
FOREIGN_PATH = r"(?<![\w./-])/(work|root|home)/[\w.-]+"
