/* The device in a SoC, reached by a program without an operating system. */
#ifndef PIM_SOC_H
#define PIM_SOC_H

#include "pim.h"

/* Registers at SOC_PIM, interrupt SOC_PIM_INTERRUPT, time by the clocks of the CPU. The buffer may be
 * cached: stores go through to memory, and a wait ends by dropping what the data cache holds. */
struct pim_io pim_soc_io(void);

#endif
