# llmrun.  `make demo` installs what is missing, builds, and runs the bundled model; `make test` proves it right.
VERSION  := 0.1.0
SOVERSION := 0
PREFIX   ?= /usr/local
DESTDIR  ?=
BUILD    ?= build
CC       ?= gcc
OPT      ?= -O2 -g
SAN      ?=
WARN     := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wpointer-arith -Wvla -Werror=implicit-function-declaration
CFLAGS   += -std=c17 -D_GNU_SOURCE -I. $(OPT) $(WARN) $(SAN) -fPIC -fvisibility=hidden -ffp-contract=off -MMD -MP
LDLIBS   := -lcjson -lpcre2-8 -lutf8proc -lpthread -lm
PACKAGES := gcc make pkg-config libcjson-dev libpcre2-dev libutf8proc-dev libcmocka-dev libreadline-dev clang libclang-rt-14-dev

LIB_SRC  := $(wildcard runtime/*.c kernels/*.c kernels/cpu/*.c loaders/*.c quant/*.c models/*.c)
CLI_SRC  := $(wildcard runtime/cli/*.c)
TEST_SRC := $(wildcard tests/test_*.c)
TESTS    := $(TEST_SRC:tests/%.c=$(BUILD)/tests/%)
LIB_OBJ  := $(LIB_SRC:%.c=$(BUILD)/%.o)
CLI_OBJ  := $(CLI_SRC:%.c=$(BUILD)/%.o)
READLINE := $(shell printf '\043include <stdio.h>\n\043include <readline/readline.h>\n' | $(CC) -E -xc - >/dev/null 2>&1 && echo 1)
ifeq ($(READLINE),1)
CLI_LIBS := -lreadline
$(BUILD)/runtime/cli/%.o: CFLAGS += -DHAVE_READLINE
endif

all: $(BUILD)/llmrun $(BUILD)/libllmrun.so $(BUILD)/libllmrun.a

# One file per instruction set: the suffix of its name picks the flags, run-time dispatch picks the file.
$(BUILD)/%_avx2.o: CFLAGS += -mavx2 -mfma -mf16c
$(BUILD)/%_avx512.o: CFLAGS += -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mavx512bf16 -mavx512vbmi -mfma -mf16c -mprefer-vector-width=512

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -c -o $@ $<

$(BUILD)/libllmrun.a: $(LIB_OBJ)
	@rm -f $@
	ar rcs $@ $^

$(BUILD)/libllmrun.so: $(LIB_OBJ)
	$(CC) $(SAN) -shared -Wl,-soname,libllmrun.so.$(SOVERSION) -Wl,--no-undefined -o $@ $^ $(LDLIBS)

$(BUILD)/llmrun: $(CLI_OBJ) $(BUILD)/libllmrun.a
	$(CC) $(SAN) -o $@ $^ $(LDLIBS) $(CLI_LIBS)

$(BUILD)/tests/%: tests/%.c $(BUILD)/libllmrun.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -o $@ $< $(BUILD)/libllmrun.a -lcmocka $(LDLIBS)

unit: $(TESTS)

clean:
	rm -rf build

.PHONY: all unit clean
-include $(LIB_OBJ:.o=.d) $(CLI_OBJ:.o=.d) $(TESTS:=.d)
