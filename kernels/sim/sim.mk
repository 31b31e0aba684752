# The simulated GPU: the runtime, and the tests that run .cu files on it.  Included by the Makefile.
#   make sim-unit     build/tests/test_sim_*, with g++; part of unit, and so of both sanitizer builds
#   make nvcc-check   the test kernels also compile for hardware (status 77 without nvcc)
CXX       ?= g++
NVCC      ?= nvcc
SIM_WARN  := -Wall -Wextra -Wshadow -Wpointer-arith
SIM_FLAGS := -std=c++17 -I. -Ikernels/sim -ffp-contract=off $(SIM_WARN) -fPIC -MMD -MP
SIM_SRC   := $(wildcard kernels/sim/*.cpp)
SIM_OBJ   := $(SIM_SRC:%.cpp=$(BUILD)/%.o)
SIM_TESTS := $(patsubst tests/sim/%.cpp,$(BUILD)/tests/%,$(wildcard tests/sim/test_sim_*.cpp))
# TSan watches the kernels; the runtime under them tells it what synchronizes, and must not be watched itself.
SIM_SAN   := $(if $(findstring thread,$(SAN)),-DSIMGPU_TSAN,$(SAN))

$(BUILD)/kernels/sim/%.o: kernels/sim/%.cpp
	@mkdir -p $(@D)
	@echo "  compile $<"
	$(Q)$(CXX) $(SIM_FLAGS) $(OPT) $(SIM_SAN) -fvisibility=hidden -c -o $@ $<

$(BUILD)/%.cu.o: %.cu
	@mkdir -p $(@D)
	@echo "  compile $<"
	$(Q)$(CXX) $(SIM_FLAGS) $(OPT) $(SAN) -x c++ -c -o $@ $<

$(BUILD)/tests/test_sim_%: tests/sim/test_sim_%.cpp $(BUILD)/tests/sim/kernels.cu.o $(SIM_OBJ)
	@mkdir -p $(@D)
	@echo "  compile $<"
	$(Q)$(CXX) $(SIM_FLAGS) $(OPT) $(SAN) -o $@ $< $(BUILD)/tests/sim/kernels.cu.o $(SIM_OBJ) -lpthread

sim-unit: $(SIM_TESTS)
unit threaded: $(SIM_TESTS)

nvcc-check:
	@bash tests/sim/nvcc.sh "$(NVCC)"

.PHONY: sim-unit nvcc-check
.SECONDARY: $(SIM_OBJ) $(BUILD)/tests/sim/kernels.cu.o
-include $(SIM_OBJ:.o=.d) $(SIM_TESTS:=.d) $(BUILD)/tests/sim/kernels.cu.d
