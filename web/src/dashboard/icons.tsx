/** Line icons, 20 by 20, in the colour of the text beside them. */

const PATHS = {
  tasks: "M4 5h12M4 10h12M4 15h8",
  plus: "M10 4v12M4 10h12",
  workflows: "M5 4.5v6a3 3 0 0 0 3 3h5M13 10.500l3 3-3 3M5 4.500h8",
  sandboxes:
    "M10 2.500l6.500 3.700v7.600L10 17.500l-6.500-3.700V6.200zM3.500 6.200L10 10l6.500-3.800M10 10v7.500",
  search: "M9 14.500a5.500 5.500 0 1 0 0-11 5.500 5.500 0 0 0 0 11zM13 13l4 4",
  sun: "M10 13.500a3.500 3.500 0 1 0 0-7 3.500 3.500 0 0 0 0 7zM10 2v1.500M10 16.500V18M2 10h1.500M16.500 10H18M4.300 4.300l1.100 1.100M14.600 14.600l1.100 1.100M4.300 15.700l1.100-1.100M14.600 5.400l1.100-1.100",
  moon: "M16.500 12A7 7 0 0 1 8 3.500 7 7 0 1 0 16.500 12z",
  screen: "M3 4h14v9H3zM7 17h6M10 13v4",
  back: "M12 4l-6 6 6 6",
  pause: "M7 4.500v11M13 4.500v11",
  play: "M6.500 4.500v11l9-5.500z",
  stop: "M5.500 5.500h9v9h-9z",
  again: "M15.500 7A6 6 0 1 0 16 11M16 3.500V7.500h-4",
  share:
    "M7.500 8.800l5-2.600M7.500 11.200l5 2.600M14.500 7.200a2 2 0 1 0 0-4 2 2 0 0 0 0 4zM5.500 12a2 2 0 1 0 0-4 2 2 0 0 0 0 4zM14.500 16.800a2 2 0 1 0 0-4 2 2 0 0 0 0 4z",
  file: "M5.500 2.500h6l3.500 3.500v11.500h-9.500zM11.500 2.500V6H15",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 20 20" width="18" height="18" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
