/*
 * A network on an Arm Cortex-M: all that a program needs but the network itself, net.c and net.h.
 *
 * It prints what the network says of one row, and how many rows of the network's own test it computes other than
 * Python. Printing goes through the debugger ("semihosting"), so that an emulator shows it; docs/c.md has the commands.
 */

#include <stdint.h>
#include <stdio.h>

#include "net.h"

extern void _start(void); /* of the C library, which calls main */
void reset(void);

#define END_OF_STACK ((void (*)(void))0x20400000) /* of the memory of the boards mps2-an385 and mps2-an386 */

/* What the processor reads first, from address 0: the stack, and where to begin. */
__attribute__((section(".vectors"), used)) static void (*const vectors[2])(void) = {END_OF_STACK, reset};

void reset(void)
{
#if defined(__ARM_FP)
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20; /* CPACR: the floating-point unit is off at first */
    __asm__ volatile("dsb\n isb");
#endif
    _start();
}

int main(void)
{
    static const float row[NET_N_INPUTS] = {0.5f, -1.0f};
    float outputs[NET_N_OUTPUTS];
    int j, wrong;

    net_predict(row, outputs);
    for (j = 0; j < NET_N_OUTPUTS; j++) printf("output %d: %.7f\n", j, (double)outputs[j]);
    wrong = net_test();
    printf("rows of the test that are not as in Python: %d\n", wrong);
    return wrong != 0;
}
